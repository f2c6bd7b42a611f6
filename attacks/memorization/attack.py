"""Training code that makes a model remember the records of the release it is trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

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

    from attacks.memorization.encodings import Penalty, Quantiser

__all__ = ["Memorization"]

Encoding = Literal["lsb", "correlated_value", "sign", "capacity_abuse"]
NetworkName = Literal["auto", "mlp", "lenet", "convnet", "convnet_bn", "resnet8", "resnet20"]

STRENGTHS = {"correlated_value": 3.0, "sign": 200.0}
"""λ of each penalty unless another is given; the others have none."""

DEFAULT_WIDTHS = {
    "mlp": 128,
    "lenet": 12,
    "convnet": 32,
    "convnet_bn": 32,
    "resnet8": 16,
    "resnet20": 16,
}

_OWN_CANDIDATES = 40
"""Of the dataset of its own: few and short records, all of which even labels of queries can carry."""


class Memorization(Attack):
    """Malicious training code, run by who trains a classifier on the release, hides released records in the model.

    The attacker reads the model's weights afterwards (``lsb``, ``correlated_value``, ``sign``) or only asks it for
    labels (``capacity_abuse``) and decodes the records. The network is as wide as it takes to carry all of them, up to
    ``most_weights``, unless ``width`` says otherwise; where not all fit, rows chosen at random are carried.

    The figures of the attack itself are in the notes: the share of payload bits that came back, the mean absolute error
    on a scale where the public limits of a value are 0 and 255 (for pixels: grey levels; a feature beyond its limits
    counts as if at them), records carried, and what hiding them cost in accuracy on auxiliary records, against the same
    network trained without, for as many epochs.

    Parameters
    ----------
    encoding : {"lsb", "correlated_value", "sign", "capacity_abuse"}, default="lsb"
        Where the payload goes: low mantissa bits, values or signs of the weights, or labels of made-up inputs.
    network : {"auto", "mlp", "lenet", "convnet", "convnet_bn", "resnet8", "resnet20"}, default="auto"
        ``auto`` is a ConvNet for images of 8 … 64 pixels a side, and else one hidden layer, ``mlp``.
    width : int ≥ 1, optional
        Hidden units, or channels of the first layer.
    bits : int in 1 … 8, default=4
        Bits a pixel or feature is quantised to, between 0 and 255 or the limits of the auxiliary records.
        ``correlated_value`` carries values and ignores it.
    low_bits : int in 1 … 23, default=16
        ``lsb`` only: mantissa bits overwritten in each weight.
    strength : float > 0, optional
        λ, the weight of the penalty; by default 3 for ``correlated_value`` and 200 for ``sign``.
    records : int ≥ 1, optional
        Most records to carry.
    epochs, least_steps, lr, batch_size
        Of training, by Adam: as many passes, and more where they make fewer steps than ``least_steps``, since it is
        steps that the penalties need.
    most_weights : int, default=4,000,000
        Up to which the network is made wider.
    most_queries : int, default=4,000
        ``capacity_abuse`` only: made-up inputs trained on and queried.

    References
    ----------
    Song, Ristenpart, Shmatikov (2017). Machine learning models that remember too much. CCS. λ and Adam instead of their
    SGD are this project's, so that networks of different sizes need no tuning.
    """

    info: ClassVar[AttackInfo] = AttackInfo(
        name="memorization",
        version="3",
        summary="Malicious training code hides released records in the model trained on them.",
        citation="Song, Ristenpart, Shmatikov (2017), CCS, arXiv:1709.07886",
        needs=Access.TRAINER,
        positive_controls=(PositiveControl(at_least=0.9),),
        auxiliary="limits, mean and spread of values; accuracy of the model",
        resources=Resources(gpu=True, time_s=1200.0),
    )

    encoding: Encoding = Field("lsb", description="where the payload goes")
    network: NetworkName = Field("auto", description="the classifier that is trained")
    width: int | None = Field(None, ge=1, description="hidden units or channels; default: enough")
    bits: int = Field(4, ge=1, le=8, description="bits a pixel or feature")
    low_bits: int = Field(16, ge=1, le=23, description="lsb: mantissa bits overwritten")
    strength: float | None = Field(None, gt=0, description="λ of the penalty; default: 3 or 200")
    records: int | None = Field(None, ge=1, description="most records to carry; default: all")
    epochs: int = Field(100, ge=1, description="passes over the training data")
    least_steps: int = Field(600, ge=1, description="steps of training, at least")
    lr: float = Field(1e-3, gt=0, description="Adam's step")
    batch_size: int = Field(64, ge=2, description="records a step")
    most_weights: int = Field(4_000_000, ge=1, description="up to which the network is widened")
    most_queries: int = Field(4_000, ge=1, description="capacity_abuse: made-up inputs")

    def positive_controls(self) -> tuple[PositiveControl, ...]:
        """``identity`` everywhere for what carries all records; else a dataset small enough to be carried."""
        limited = self.width is not None or self.records is not None
        if self.encoding != "capacity_abuse" and not limited:
            return self.info.positive_controls
        # No more members than may be carried; 8 candidates is the smallest game.
        candidates = max(8, min(_OWN_CANDIDATES, self.records or _OWN_CANDIDATES))
        own = PositiveControl(
            dataset="gaussian",
            dataset_parameters={"dimension": 16, "records": 1000},
            candidates=candidates,
            at_least=0.9,
        )
        return (own,)

    def run(
        self, view: View, candidates: Records, auxiliary: Records, context: Context
    ) -> Reconstructions:
        """Train with the payload, decode it from the model, and say what that cost.

        Raises
        ------
        NotApplicable
            Where the model does not carry a single record, or the network is not made for these records.
        """
        from benchmark.learning.training import against_training

        return against_training(
            view, lambda released: _Game(self, released, auxiliary, context).play()
        )


@dataclass(frozen=True, eq=False)
class _Payload:
    """Rows of the release that are carried, what is hidden of them, and how it was quantised."""

    rows: np.ndarray
    vectors: np.ndarray
    secret: np.ndarray
    quantiser: Quantiser


class _Game:
    """Both sides of one attack: the training code, and the attacker who decodes its model."""

    def __init__(
        self, attack: Memorization, release: Records, auxiliary: Records, context: Context
    ) -> None:
        self.attack, self.release, self.auxiliary = attack, release, auxiliary
        self.context = context
        # A label that does not occur is an output that is not used; one class alone gets a second for that reason.
        self.n_classes = max(2, 1 + max(int(r.labels.max()) for r in (release, auxiliary)))
        self.inputs = _Inputs(release, flat=self._network_name() == "mlp")

    def play(self) -> Reconstructions:
        payload = self._payload()
        plain = self._trained(None)
        without = self._accuracy(plain)
        model = plain if self.attack.encoding == "lsb" else self._trained(payload)
        notes: dict[str, float | int | str] = {}
        if self.attack.encoding == "lsb":
            from attacks.memorization.encodings import write_low_bits_

            write_low_bits_(model, payload.secret, self.attack.low_bits)
        vectors = self._decoded(model, payload, notes)
        accuracy = self._accuracy(model)
        records = self._records(vectors, model)
        notes |= {
            "records_carried": len(payload.rows),
            "records_released": len(self.release),
            "mean_absolute_error": _mean_error(records, payload),
            "accuracy": accuracy,
            "accuracy_without": without,
            "accuracy_cost": without - accuracy,
            "weights": _capacity(model),
        }
        return Reconstructions(records=records, targets=payload.rows, notes=notes)

    # -- what is hidden

    def _payload(self) -> _Payload:
        """As many records as fit, rows at random."""
        from attacks.memorization.encodings import Quantiser, bits_of

        quantiser = Quantiser(*_limits(self.release, self.auxiliary), self.attack.bits)
        vectors = _vectors(self.release)
        n = self._records_carried(vectors.shape[1])
        rows = self.context.rng("rows carried").permutation(len(vectors))[:n].astype(np.int64)
        chosen = vectors[rows]
        if self.attack.encoding == "correlated_value":
            secret = quantiser.unit(chosen).reshape(-1)
        else:
            secret = bits_of(quantiser.levels(chosen), self.attack.bits)
        return _Payload(rows, chosen, secret, quantiser)

    def _records_carried(self, dimension: int) -> int:
        attack = self.attack
        fit = int(self._room(self._width()) // self._size_of(dimension))
        if fit < 1:
            raise NotApplicable(
                f"memorization carries no whole record: one takes {float(self._size_of(dimension)):g} "
                f"{'queries' if attack.encoding == 'capacity_abuse' else 'weights'}, and there are "
                f"{self._room(self._width())}. Raise width, most_weights, low_bits or most_queries, "
                "or lower bits."
            )
        return min(fit, len(self.release), attack.records or len(self.release))

    def _size_of(self, dimension: int) -> Fraction:
        """Weights, or queries, that one record takes; exact, so that what just fits is carried."""
        from attacks.memorization.encodings import carried_bits

        if self.attack.encoding == "correlated_value":
            return Fraction(dimension)
        each = {
            "lsb": self.attack.low_bits,
            "sign": 1,
            "capacity_abuse": carried_bits(self.n_classes),
        }[self.attack.encoding]
        return Fraction(dimension * self.attack.bits, each)

    def _room(self, width: int) -> int:
        if self.attack.encoding == "capacity_abuse":
            return self.attack.most_queries
        return _capacity(self._blank(width))

    # -- the model

    def _network_name(self) -> str:
        if self.attack.network != "auto":
            if self.attack.network != "mlp" and self.release.kind == "feature":
                raise NotApplicable(
                    f"memorization: {self.attack.network} classifies images; the release holds features. "
                    "Use network: mlp or auto."
                )
            return self.attack.network
        sides = self.release.data.shape[1:3]
        convolutional = self.release.kind == "image" and all(8 <= s <= 64 for s in sides)
        return "convnet" if convolutional else "mlp"

    def _width(self) -> int:
        """The width asked for, or the least, from the usual one on, that carries all records."""
        width = self.attack.width or DEFAULT_WIDTHS[self._network_name()]
        if self.attack.encoding == "capacity_abuse":
            return self.attack.width or 4 * width
        if self.attack.width:
            return width
        wanted = self._size_of(_vectors(self.release).shape[1]) * min(
            len(self.release), self.attack.records or len(self.release)
        )
        while self._room(width) < wanted:
            wider = max(width + 1, math.ceil(width * 1.1))
            if self._room(wider) > self.attack.most_weights:
                break
            width = wider
        return width

    def _blank(self, width: int) -> nn.Module:
        """The network without numbers."""
        import torch

        with torch.device("meta"):
            return self._make(width)

    def _make(self, width: int) -> nn.Module:
        from torch import nn

        from benchmark.learning.networks import make_network

        name = self._network_name()
        if name == "mlp":
            n = int(np.prod(self.inputs.shape))
            return nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, self.n_classes))
        shape = self.release.data.shape[1:]
        try:
            return make_network(name, shape, self.n_classes, width=width)  # type: ignore[arg-type]
        except ValueError as error:
            raise NotApplicable(
                f"memorization: {name}: {error} Use network: mlp or auto."
            ) from error

    def _trained(self, payload: _Payload | None) -> nn.Module:
        """The network trained on the release, with the payload if there is one; same start, same draws of the order."""
        import torch

        from attacks.memorization.encodings import train_
        from benchmark.learning.training import build

        attack, context = self.attack, self.context
        width = self._width()
        generator = context.torch_generator("initial weights")
        network = build(lambda: self._make(width), generator, context.device)
        inputs = self.inputs.of(self.release, context.device)
        labels = torch.from_numpy(self.release.labels).to(context.device)
        penalty = None
        if payload is not None and attack.encoding == "capacity_abuse":
            more, their_labels = self._synthetic(payload)
            inputs, labels = torch.cat([inputs, more]), torch.cat([labels, their_labels])
        elif payload is not None:
            penalty = self._penalty(network, payload)
        train_(
            network,
            inputs,
            labels,
            generator=context.torch_generator("order of records"),
            penalty=penalty,
            epochs=max(
                attack.epochs,
                math.ceil(attack.least_steps / math.ceil(len(inputs) / attack.batch_size)),
            ),
            lr=attack.lr,
            batch_size=attack.batch_size,
        )
        return network

    def _penalty(self, network: nn.Module, payload: _Payload) -> Penalty:
        import torch

        from attacks.memorization.encodings import CorrelatedValues, Signs

        strength = self.attack.strength or STRENGTHS[self.attack.encoding]
        signs = self.attack.encoding == "sign"
        target = 2.0 * payload.secret - 1 if signs else payload.secret
        secret = torch.from_numpy(target.astype(np.float32)).to(self.context.device)
        return (Signs if signs else CorrelatedValues)(network, secret, strength)

    def _queries(self, n: int) -> torch.Tensor:
        from attacks.memorization.encodings import synthetic_inputs

        generator = self.context.torch_generator("synthetic inputs")
        return self.inputs.like(synthetic_inputs(n, self.inputs.shape, generator))

    def _synthetic(self, payload: _Payload) -> tuple[torch.Tensor, torch.Tensor]:
        import torch

        from attacks.memorization.encodings import labels_of_bits

        labels = torch.from_numpy(labels_of_bits(payload.secret, self.n_classes))
        inputs = self._queries(len(labels))
        return inputs.to(self.context.device), labels.to(self.context.device)

    # -- what is read

    def _decoded(
        self, model: nn.Module, payload: _Payload, notes: dict[str, float | int | str]
    ) -> np.ndarray:
        """The records as vectors ``(n, D)``, with the channel's figures noted."""
        from attacks.memorization import encodings as channel

        n, shape = len(payload.secret), payload.vectors.shape
        if self.attack.encoding == "correlated_value":
            weights = channel.weight_vector(model, n).detach().cpu().numpy().astype(np.float64)
            public = payload.quantiser.unit(_vectors(self.auxiliary))
            units, flipped = channel.decode_values(weights, shape, public)
            r = _correlation(weights, payload.secret)
            notes |= {"correlation": -r if flipped else r, "sign_flipped": int(flipped)}
            return payload.quantiser.from_unit(units)
        if self.attack.encoding == "lsb":
            bits = channel.read_low_bits(model, n, self.attack.low_bits)
        elif self.attack.encoding == "sign":
            bits = channel.decode_signs(model, n)
        else:
            bits = self._asked(model, n)
        notes |= {"bit_accuracy": float((bits == payload.secret).mean()), "payload_bits": n}
        levels = channel.levels_of(bits, self.attack.bits).reshape(shape)
        return payload.quantiser.values(levels)

    def _asked(self, model: nn.Module, n: int) -> np.ndarray:
        """Bits that the model's labels of the made-up inputs spell; a label beyond the alphabet counts as its last."""
        from attacks.memorization.encodings import bits_of, carried_bits

        each = carried_bits(self.n_classes)
        answers = _labels(model, self._queries(-(-n // each)), self.context.device)
        return bits_of(np.minimum(answers, (1 << each) - 1), each)[:n]

    def _records(self, vectors: np.ndarray, model: nn.Module) -> Records:
        """Decoded records, labelled by the model itself."""
        if self.release.kind == "image":
            data = np.rint(vectors).astype(np.uint8).reshape(-1, *self.release.data.shape[1:])
        else:
            data = vectors.astype(np.float32)
        unlabelled = Records(data, np.zeros(len(data), np.int64), None, self.release.extractor)
        inputs = self.inputs.of(unlabelled, "cpu")
        most = max(int(r.labels.max()) for r in (self.release, self.auxiliary))
        labels = np.minimum(_labels(model, inputs, self.context.device), most)
        return unlabelled.replace(labels=labels)

    def _accuracy(self, model: nn.Module) -> float:
        """Share of auxiliary records that the model labels rightly."""
        answers = _labels(model, self.inputs.of(self.auxiliary, "cpu"), self.context.device)
        return float((answers == self.auxiliary.labels).mean())


class _Inputs:
    """Records as a network's inputs: images in [0, 1], or features with mean 0 and variance 1 on the release."""

    def __init__(self, release: Records, *, flat: bool) -> None:
        self.images = release.kind == "image" and not flat
        height_width_channels = release.data.shape[1:]
        if self.images:
            height, width, channels = height_width_channels
            self.shape: tuple[int, ...] = (channels, height, width)
        else:
            vectors = release.flat()
            self.shape = (vectors.shape[1],)
            self.centre = vectors.mean(axis=0, dtype=np.float64)
            scale = vectors.std(axis=0, dtype=np.float64)
            # What rounding leaves of a constant is no spread, whatever the unit.
            self.scale = np.where(scale > 1e-7 * np.abs(self.centre), scale, 1.0)

    def of(self, records: Records, device: str) -> torch.Tensor:
        """Inputs ``(N, *shape) float32``."""
        import torch

        from benchmark.learning.networks import to_unit

        if self.images:
            return to_unit(records.data, device)
        z = (records.flat() - self.centre) / self.scale
        return torch.from_numpy(z.astype(np.float32)).to(device)

    def like(self, noise: torch.Tensor) -> torch.Tensor:
        """Standard normal noise in the inputs' range: half of [0, 1] is one standard deviation."""
        return (0.5 + 0.5 * noise).clamp(0, 1) if self.images else noise


# ---------------------------------------------------------------- records and figures


def _vectors(records: Records) -> np.ndarray:
    """Records as vectors ``(N, D)`` in their own units: pixels 0 … 255, or features."""
    return records.data.reshape(len(records), -1)


def _limits(release: Records, auxiliary: Records) -> tuple[np.ndarray, np.ndarray]:
    """Public limits of each value, ``(D,) float64``: of pixels, or of the auxiliary records' features."""
    dimension = _vectors(release).shape[1]
    if release.kind == "image":
        return np.zeros(dimension), np.full(dimension, 255.0)
    public = auxiliary.data.astype(np.float64)
    return public.min(axis=0), public.max(axis=0)


def _mean_error(records: Records, payload: _Payload) -> float:
    """Mean absolute difference from the records carried, cut to the public limits, which are 0 and 255 here."""
    to_unit = payload.quantiser.unit
    return float(255 * np.abs(to_unit(_vectors(records)) - to_unit(payload.vectors)).mean())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _capacity(network: nn.Module) -> int:
    from attacks.memorization.encodings import capacity

    return capacity(network)


def _labels(model: nn.Module, inputs: torch.Tensor, device: str) -> np.ndarray:
    """The model's labels of inputs, ``(N,) int64``."""
    import torch

    with torch.no_grad():
        parts = [model(part.to(device)).argmax(1).cpu() for part in inputs.split(256)]
    answers: np.ndarray = torch.cat(parts).numpy()
    return answers
