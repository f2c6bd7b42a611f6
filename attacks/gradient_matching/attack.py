"""Reconstruction of released records from the gradients that federated training on them shares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import model_validator

from benchmark.contracts import (
    Access,
    Attack,
    AttackInfo,
    Context,
    Field,
    NotApplicable,
    PositiveControl,
    Reconstructions,
    Records,
    Resources,
    View,
)

if TYPE_CHECKING:
    import torch
    from torch import nn

    from attacks.gradient_matching.matching import Recovered, Shared, Victim

__all__ = ["GradientMatching"]

Algorithm = Literal["auto", "closed_form", "dlg", "idlg", "inverting_gradients"]
Named = Literal["auto", "linear", "lenet", "convnet", "convnet_bn", "resnet8", "resnet20"]

TARGETS = 32
"""Records attacked by the iterative algorithms unless told otherwise; the closed form takes all."""

ITERATIONS = {"dlg": 600, "idlg": 600, "inverting_gradients": 800}
RESTARTS = {"dlg": 4, "idlg": 4, "inverting_gradients": 1}
TOTAL_VARIATION = {False: 1e-5, True: 1e-2}
"""By whether the victim is trained."""

MEMORY = 256 << 20
"""Bytes of gradients in one part of the closed form."""

# Records of which the mean prediction is taken that stands for the participants'.
_PRIOR = 256


class GradientMatching(Attack):
    """A server that reconstructs its participants' batches of released records from what they share with it.

    The attack plays both sides: it draws batches of released records, computes what participants would share, and
    reconstructs the batches from that alone. The released records are looked at again only to tell which reconstruction
    of a batch is which (the assignment with the least error), for the referee.

    Images are attacked through one of the image classifiers, features (standardised by the auxiliary records) through a
    linear head. Labels are not given: they are inferred from the last layer's gradient, or, in DLG, optimised.

    Parameters
    ----------
    attack : {"auto", "closed_form", "dlg", "idlg", "inverting_gradients"}, default="auto"
        ``auto``: Inverting Gradients on images, the closed form on features.
    network : {"auto", "linear", "lenet", "convnet", "convnet_bn", "resnet8", "resnet20"}, default="auto"
        ``auto``: linear for the closed form and for features, LeNet with sigmoids and weights from U(−½, ½) for DLG and
        iDLG, ConvNet for Inverting Gradients.
    width : int, optional
        Channels of the network's first layer.
    batch_norm : {"eval", "batch"}, default="eval"
        Statistics used where the network has batch normalisation: running ones, or those of the batch.
    trained : bool, default=False
        Train the victim on the release first (Adam, 1e-3); otherwise its weights are as drawn.
    epochs : int, default=5
        Of that training.
    batch_size : int in 1 … 16, default=1
        Where it does not divide the targets, the last batch is filled up with records of other batches, whose
        second reconstructions are not answered.
    local_steps : int, default=1
        1: participants share a gradient (FedSGD). More: the update of that many local steps of SGD (FedAvg), each on
        the whole batch.
    local_lr : float, default=0.1
    targets : int, optional
        Released records to attack; by default all with the closed form, 32 with the others.
    restarts : int, optional
        Default 4 for DLG and iDLG, which restart only what was not solved, 1 for Inverting Gradients.
    iterations : int, optional
        Default 600 of L-BFGS, 800 of signed Adam.
    lr : float, default=0.1
        Of signed Adam; pixels range from 0 to 1.
    tv : float, optional
        Weight of total variation; default 1e-5 for untrained and 1e-2 for trained victims.
    labels : {"auto", "sign", "counts", "minima"}, default="auto"
        How labels are inferred; see :func:`attacks.gradient_matching.matching.infer_labels`.
    reach : float > 0, optional
        Standardised features are cut to [−reach, reach] before participants train on them. Without a limit a feature
        that is all but constant among the auxiliary records decides alone what the model predicts, and where that is
        certain there is no gradient to match. What is cut off comes back as the limit.

    References
    ----------
    Zhu, Liu, Han (2019). Deep leakage from gradients. NeurIPS.
    Zhao, Mopuri, Bilen (2020). iDLG: Improved deep leakage from gradients. arXiv:2001.02610.
    Geiping, Bauermeister, Dröge, Moeller (2020). Inverting gradients. NeurIPS.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="gradient_matching",
        version="3",
        summary="Reconstructs released records from the gradients of training on them.",
        citation="Geiping et al. (2020), Inverting gradients, NeurIPS, arXiv:2003.14053",
        needs=Access.TRAINER,
        positive_controls=(PositiveControl(at_least=0.9),),
        auxiliary="units of features; mean prediction of the model, for labels of batches",
        resources=Resources(gpu=True, time_s=3600.0),
    )

    attack: Algorithm = Field("auto", description="how batches are reconstructed")
    network: Named = Field("auto", description="the model under training")
    width: int | None = Field(None, ge=1, description="channels of its first layer")
    batch_norm: Literal["eval", "batch"] = Field("eval", description="statistics it normalises by")
    trained: bool = Field(False, description="train the model on the release first")
    epochs: int = Field(5, ge=1, description="epochs of that training")
    batch_size: int = Field(1, ge=1, le=16, description="records a participant has")
    local_steps: int = Field(1, ge=1, description="1: FedSGD; more: FedAvg")
    local_lr: float = Field(0.1, gt=0, description="step size of the participants' SGD")
    targets: int | None = Field(None, ge=1, description="released records attacked")
    restarts: int | None = Field(None, ge=1, description="starts of each batch, at most")
    iterations: int | None = Field(None, ge=1, description="iterations of each start")
    lr: float = Field(0.1, gt=0, description="step size of signed Adam")
    tv: float | None = Field(None, ge=0, description="weight of total variation")
    labels: Literal["auto", "sign", "counts", "minima"] = Field(
        "auto", description="how labels are inferred"
    )
    reach: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="standardised features are cut to ± this; by default not",
    )

    @model_validator(mode="after")
    def _fits(self) -> GradientMatching:
        if self.attack == "closed_form" and self.network not in ("auto", "linear"):
            raise ValueError(
                f"attack 'closed_form' is for network 'linear'. Got {self.network!r}; leave network out."
            )
        if self.labels == "sign" and self.batch_size > 1:
            raise ValueError(
                f"labels 'sign' are for batch_size 1. Got {self.batch_size}; use labels 'counts'."
            )
        return self

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """``identity``: anywhere for what attacks every record, else with so few members that all are attacked."""
        if self.attack == "closed_form" and self.targets is None:
            return self.info.positive_controls
        # Of m candidates about half are members: with m = 1.5 × targets all of them are attacked but for rare coins.
        few = max(16, int(1.5 * (self.targets or TARGETS)))
        images = PositiveControl(dataset="digits", candidates=few, at_least=0.9)
        features = PositiveControl(
            dataset="gaussian",
            dataset_parameters={"dimension": 16, "records": 1000},
            candidates=few,
            at_least=0.9,
        )
        return (images, features) if self.attack == "auto" else (images,)

    def run(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> Reconstructions:
        """Reconstruct what participants trained on.

        Raises
        ------
        NotApplicable
            Where the network is not made for these records, or ``labels="minima"`` meets batches larger than the number
            of classes.
        """
        from benchmark.learning.training import against_training

        return against_training(
            view, lambda released: _Federation(self, released, auxiliary, context).play()
        )


@dataclass(frozen=True, eq=False)
class _Federation:
    """One simulated round of federated training, and the server's attack on it."""

    settings: GradientMatching
    released: Records
    auxiliary: Records
    context: Context

    def play(self) -> Reconstructions:
        from attacks.gradient_matching.matching import Recovered

        rows, batches = self.batches, self.inputs[self.batches]
        labels = self._labels(self.released)[self.batches]
        # Only the closed form, of which all there is to it is one step, is done in parts that bound memory.
        at_once = max(1, MEMORY // (4 * self.victim.size)) if self.closed else len(rows)
        found = []
        for part, their in zip(batches.split(at_once), labels.split(at_once), strict=True):
            shared = self.victim.share(part, self._one_hot(their))
            found.append(self._attack({name: value.detach() for name, value in shared.items()}))
        return self._answer(Recovered.joined(found), rows, batches, labels)

    # -- what is attacked

    @property
    def closed(self) -> bool:
        """Whether the closed form is used."""
        return self.algorithm == "closed_form"

    @cached_property
    def algorithm(self) -> str:
        """The attack, with ``auto`` resolved."""
        if self.settings.attack != "auto":
            return self.settings.attack
        return "inverting_gradients" if self.released.kind == "image" else "closed_form"

    @cached_property
    def batches(self) -> torch.Tensor:
        """Rows of the release, ``(T, b)``; the last batch is filled up with rows drawn before."""
        import torch

        size = self.settings.batch_size
        rows = self.context.rng("targets").permutation(len(self.released))[: self.n_targets]
        count = -(-len(rows) // size)
        return torch.as_tensor(np.resize(rows, (count, size)))

    @property
    def n_targets(self) -> int:
        """Released records attacked, each counted once."""
        n, wanted = len(self.released), self.settings.targets
        if wanted is None:
            wanted = n if self.closed else TARGETS
        return min(n, wanted)

    @cached_property
    def n_classes(self) -> int:
        return int(max(self.released.labels.max(), self.auxiliary.labels.max(), 1)) + 1

    @cached_property
    def unit(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation that features are standardised by."""
        data = self.auxiliary.data
        scale = data.std(axis=0, dtype=np.float64)
        mean = data.mean(axis=0, dtype=np.float64)
        return mean, np.where(scale > 0, scale, 1.0)

    @cached_property
    def inputs(self) -> torch.Tensor:
        """The released records as the network takes them."""
        return self._inputs(self.released)

    def _inputs(self, records: Records) -> torch.Tensor:
        import torch

        from benchmark.learning.networks import to_unit

        if records.kind == "image":
            return to_unit(records.data, self.context.device)
        mean, scale = self.unit
        z = (records.data - mean) / scale
        if self.settings.reach is not None:
            z = z.clip(-self.settings.reach, self.settings.reach)
        return torch.as_tensor(z.astype(np.float32)).to(self.context.device)

    def _labels(self, records: Records) -> torch.Tensor:
        import torch

        return torch.as_tensor(records.labels).to(self.context.device)

    def _one_hot(self, labels: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional as F

        return F.one_hot(labels, self.n_classes).float()

    # -- the model under training

    @cached_property
    def network(self) -> nn.Module:
        """As it is when participants get it."""
        from benchmark.learning.networks import uniform_
        from benchmark.learning.training import build

        generator = self.context.torch_generator("network")
        network = build(self._make_network, generator, "cpu")
        if self._name == "lenet" and self.algorithm in ("dlg", "idlg"):
            uniform_(network, generator)
        network = network.to(self.context.device)
        if self.settings.trained:
            self._train(network)
        return network.eval()

    @cached_property
    def _name(self) -> str:
        """The network's name, with ``auto`` resolved."""
        name = self.settings.network
        if self.released.kind == "feature":
            if name not in ("auto", "linear"):
                raise NotApplicable(
                    f"network {name!r} takes images; features are attacked through network 'linear'"
                )
            return "linear"
        if name != "auto":
            return name
        usual = {"closed_form": "linear", "inverting_gradients": "convnet"}
        return usual.get(self.algorithm, "lenet")

    def _make_network(self) -> nn.Module:
        from torch import nn

        from benchmark.learning.networks import make_network

        shape, name = self.released.data.shape[1:], self._name
        if name == "linear":
            return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), self.n_classes))
        try:
            return make_network(name, shape, self.n_classes, width=self.settings.width)  # type: ignore[arg-type]
        except ValueError as error:
            raise NotApplicable(f"network {name!r}: {error}") from error

    def _train(self, network: nn.Module) -> None:
        """Adam on the release, as it stands after a few rounds of federated training."""
        import torch
        from torch.nn import functional as F

        from benchmark.learning.training import batches

        optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)
        generator = self.context.torch_generator("training")
        x, y = self.inputs, self._labels(self.released)
        network.train()
        for _ in range(self.settings.epochs):
            for index in batches(len(x), 64, generator, self.context.device):
                if len(index) < 2 and len(x) > 1:
                    continue  # one record has no batch statistics
                optimiser.zero_grad()
                F.cross_entropy(network(x[index]), y[index]).backward()
                optimiser.step()

    @cached_property
    def victim(self) -> Victim:
        from attacks.gradient_matching.matching import Victim

        return Victim.make(
            self.network,
            local_steps=self.settings.local_steps,
            local_lr=self.settings.local_lr,
            batch_norm=self.settings.batch_norm,
        )

    # -- the server

    def _attack(self, shared: Shared) -> Recovered:
        from attacks.gradient_matching.matching import closed_form, match_cosine, match_squared

        settings, size = self.settings, self.settings.batch_size
        labels = None if self.algorithm == "dlg" else self._inferred(shared)
        if self.closed:
            assert labels is not None
            return closed_form(self.victim, shared, size, labels)
        image = self.released.kind == "image"
        shape = tuple(self.inputs.shape[1:])
        common: dict[str, Any] = {
            "restarts": settings.restarts or RESTARTS[self.algorithm],
            "iterations": settings.iterations or ITERATIONS[self.algorithm],
            "bounds": (0.0, 1.0) if image else None,
            "generator": self.context.torch_generator("starts"),
            "progress": self.context.progress,
        }
        if self.algorithm == "inverting_gradients":
            assert labels is not None
            tv = TOTAL_VARIATION[settings.trained] if settings.tv is None else settings.tv
            return match_cosine(self.victim, shared, shape, labels, tv=tv, lr=settings.lr, **common)
        return match_squared(self.victim, shared, shape, size, labels=labels, **common)

    def _inferred(self, shared: Shared) -> torch.Tensor:
        """Labels from the last layer's gradient."""
        import torch

        from attacks.gradient_matching.matching import infer_labels

        known = self.auxiliary.take(np.arange(min(_PRIOR, len(self.auxiliary))))
        with torch.no_grad():
            prior = torch.softmax(self.network(self._inputs(known)), dim=1).mean(0)
        size, strategy = self.settings.batch_size, self.settings.labels
        if strategy == "minima" and size > self.n_classes:
            raise NotApplicable(
                f"labels 'minima' are for at most {self.n_classes} records a batch, one a class"
            )
        return infer_labels(self.victim, shared, size, strategy, prior)

    # -- the answer

    def _answer(
        self, found: Recovered, rows: torch.Tensor, batches: torch.Tensor, labels: torch.Tensor
    ) -> Reconstructions:
        from attacks.gradient_matching.matching import assign, label_accuracy

        made = found.x.reshape(batches.shape).numpy()
        places = assign(made, batches.cpu().numpy())
        targets = np.take_along_axis(rows.numpy(), places, axis=1).ravel()
        flat = made.reshape(-1, *made.shape[2:])
        # Where the last batch was filled up, the records that fill it are answered where they stand first.
        once = (np.arange(len(rows))[:, None] * rows.shape[1] + places).ravel() < self.n_targets
        notes: dict[str, float | int | str] = {
            "algorithm": self.algorithm,
            "network": self._name,
            "label_accuracy": label_accuracy(found.labels, labels, self.n_classes),
            "matching_loss_median": float(found.losses.nan_to_num(1e30).clamp(max=1e30).median()),
            "divergence_rate": found.divergence_rate,
            "diverged_share": float(found.diverged.double().mean()),
            "restarts_mean": float(found.restarts.double().mean()),
            "victim_accuracy": self._accuracy(),
            "batches": len(rows),
            "batch_norm": self.settings.batch_norm if self._name != "linear" else "none",
        }
        return Reconstructions(
            records=self._records(flat[once], found.labels.ravel().numpy()[once]),
            targets=targets[once].astype(np.int64),
            notes=notes,
        )

    def _records(self, x: np.ndarray, labels: np.ndarray) -> Records:
        """Reconstructed inputs as records of the release's kind."""
        if self.released.kind == "image":
            grey = np.rint(np.nan_to_num(x).clip(0, 1) * 255).astype(np.uint8)
            return Records(grey.transpose(0, 2, 3, 1).copy(), labels)
        mean, scale = self.unit
        data = np.nan_to_num(x).astype(np.float64).clip(-1e6, 1e6) * scale + mean
        return Records(data.astype(np.float32), labels, None, self.released.extractor)

    def _accuracy(self) -> float:
        """Of the model, on auxiliary records."""
        import torch

        known = self.auxiliary.take(np.arange(min(1000, len(self.auxiliary))))
        with torch.no_grad():
            predicted = self.network(self._inputs(known)).argmax(dim=1)
        return float((predicted == self._labels(known)).double().mean())
