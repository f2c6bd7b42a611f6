"""A class-conditional flow-matching model of pixels, which releases made images instead of records.

The network, its training and the integration are in :mod:`methods.flow.networks`. Flow matching is the family of
diffusion models with straight lines between noise and records [1]_ [2]_: what medical images are published with today.

References
----------
.. [1] Lipman, Chen, Ben-Hamu, Nickel & Le, "Flow matching for generative modeling", ICLR 2023, arXiv 2210.02747.
.. [2] Liu, Gong & Liu, "Flow straight and fast", ICLR 2023, arXiv 2209.03003.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from benchmark.contracts import (
    Access,
    Context,
    Field,
    LeakboardError,
    Method,
    MethodInfo,
    Records,
    Release,
    Resources,
    Saved,
)

if TYPE_CHECKING:
    from methods.flow.networks import TrainingSummary, VelocityNetwork

__all__ = ["Flow", "HoldoutFlow"]

CITATION = "Lipman et al. 2023, arXiv 2210.02747; Liu, Gong & Liu 2023, arXiv 2209.03003"


class Flow(Method):
    """Fits a flow-matching model to the members and releases draws from it.

    It works on pixels at any size: 28 … 64 on CPUs in minutes, larger on a GPU by the same code. The release has the
    members' class counts times ``release_size``; ``sample`` without labels draws them from the members' class shares.

    On 2,000 images of Fashion-MNIST the defaults took 260 CPU seconds, and a linear probe of the draws reached .94 of
    one of the members; on 114 fundus images of 32 pixels 700 steps were too few for a single vessel
    (``docs/generators.md``). Small networks want a larger ``lr``, short training a smaller ``average``.

    ``weights`` is a :class:`methods.flow.networks.VelocityNetwork`: the generator, which integrates the flow from
    normal codes to pixels and is differentiable throughout, with ``velocity(x, t, labels)`` and ``loss(x, labels, t,
    noise)`` for attacks that look at single times.

    What it keeps of its members: the network's weights, as a moving average over the steps of training, which may know
    single members by heart where training is long and members are few; and the class counts, which are released as they
    are. Nothing else, and it learns from members alone. No formal guarantee.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="flow",
        version="1",
        summary="Samples of a class-conditional flow-matching model fitted to the members.",
        citation=CITATION,
        offers=Access.WEIGHTS,
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=3600.0),
    )

    steps: int = Field(2000, ge=1, description="training steps")
    batch_size: int = Field(64, ge=1, description="records a step")
    width: int = Field(32, ge=8, multiple_of=8, description="maps at the finest level")
    patch: int | None = Field(
        None, ge=1, description="side of a patch that becomes one cell, in pixels; by the size"
    )
    lr: float = Field(3e-3, gt=0, allow_inf_nan=False, description="greatest step of Adam")
    average: float = Field(0.995, ge=0, lt=1, description="decay of the weights' moving average")
    integration_steps: int = Field(8, ge=1, description="steps from noise to record")
    release_size: float = Field(
        1.0, gt=0, allow_inf_nan=False, description="records released, in multiples of the members"
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Train on the members and draw the release.

        Raises
        ------
        LeakboardError
            Where training diverges.
        """
        from benchmark.learning.sampling import GeneratorSampler, scaled_counts

        counts = np.bincount(members.labels)
        network, summary = self._train(members, context)
        sample = GeneratorSampler(network, counts, members.data.shape[1:])
        labels = np.repeat(np.arange(len(counts)), scaled_counts(counts, self.release_size))
        return Release(
            records=sample(len(labels), labels, context.rng("release")),
            state={
                **{n: value.cpu().numpy().copy() for n, value in network.state_dict().items()},
                "class_counts": counts,
            },
            sample=sample,
            weights=network,
            notes={"flow_loss": summary.loss},
        )

    def restore(self, saved: Saved, context: Context) -> Release:
        """Rebuild the network; draws are those of the fitted release, bit for bit."""
        import torch

        from benchmark.learning.sampling import GeneratorSampler

        counts, shape = saved.state["class_counts"], saved.records.data.shape[1:]
        with torch.device("meta"):
            network = self._network(shape, len(counts))()
        names = network.state_dict().keys()
        weights = {name: torch.from_numpy(np.array(saved.state[name])) for name in names}
        network.load_state_dict(weights, assign=True)
        network = _laid_out(network.requires_grad_(True).eval(), context.device)
        return Release(
            records=saved.records,
            state=saved.state,
            sample=GeneratorSampler(network, counts, shape),
            weights=network,
            guarantee=saved.guarantee,
        )

    def _network(self, shape: tuple[int, ...], n_classes: int) -> Callable[[], VelocityNetwork]:
        from methods.flow.networks import VelocityNetwork

        height, width, colours = shape
        return lambda: VelocityNetwork(
            (height, width, colours),
            n_classes,
            width=self.width,
            patch=self.patch,
            steps=self.integration_steps,
        )

    def _train(self, members: Records, context: Context) -> tuple[VelocityNetwork, TrainingSummary]:
        import torch

        from benchmark.learning.training import build
        from methods.flow.networks import train_flow

        shape = members.data.shape[1:]
        network = build(
            self._network(shape, int(members.labels.max()) + 1),
            context.torch_generator("network"),
            context.device,
        ).reset_()
        pixels = torch.from_numpy(members.data).movedim(3, 1).to(torch.float32)
        images = (pixels / 127.5 - 1).to(context.device, memory_format=torch.channels_last)
        summary = train_flow(
            _laid_out(network, context.device),
            images,
            torch.from_numpy(members.labels).to(context.device),
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            average=self.average,
            rng=context.torch_generator("training"),
            progress=context.progress,
        )
        if not all(torch.isfinite(value).all() for value in network.state_dict().values()):
            raise LeakboardError(
                f"training of '{self.info.name}' diverged: weights are not finite after {self.steps} steps. Got "
                f"lr={self.lr}; try a smaller one."
            )
        return network.eval(), summary


class HoldoutFlow(Flow):
    """A flow of fresh real records instead of the members: no attack on a generator may tell them.

    Fitted to as many records as there are members, drawn from the hold-out without replacement, or to all of the
    hold-out where it is smaller.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="holdout_flow",
        version="1",
        summary="A flow of fresh real records, none of them a candidate: attacks must be at chance.",
        citation=CITATION,
        offers=Access.WEIGHTS,
        kinds=frozenset({"image"}),
        resources=Resources(gpu=True, time_s=3600.0),
        control=True,
        needs_holdout=True,
    )

    def fit(self, members: Records, context: Context) -> Release:
        """Train on records of ``context.holdout`` and draw the release.

        Raises
        ------
        LeakboardError
            Where the context holds no hold-out, or training diverges.
        """
        from benchmark.learning.sampling import fresh_records

        return super().fit(fresh_records(len(members), context, "holdout_flow"), context)


def _laid_out(network: VelocityNetwork, device: str) -> VelocityNetwork:
    """On the device, with the channels of weights last in memory: the layout that convolutions are fastest in."""
    import torch

    return network.to(device).to(memory_format=torch.channels_last)
