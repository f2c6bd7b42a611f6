"""k-SALSA [1]_: mean codes of groups of identities, aligned with their sources' local style.

References
----------
.. [1] Jeon, Park, Kim, Morley & Cho, "k-SALSA: k-anonymous synthetic averaging of retinal images via local style
   alignment", ECCV 2022.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from benchmark.contracts import Field, MethodInfo
from methods.latent.bench import IMAGES, TIME, Bench
from methods.latent.latent_k_same import Averages

if TYPE_CHECKING:
    import torch

    from methods.latent.averages import ClassGroup

__all__ = ["KSALSA"]


class KSALSA(Averages):
    """k-SALSA: mean codes, moved until their pictures look like their sources.

    As ``latent_k_same``; each mean code is then optimised for 100 steps of Adam so that its picture has its sources'
    content (features of a class classifier trained on the members) and local style (Gram matrices of crops, each
    source crop against the most similar crop of the picture). Every released record still stands for at least k
    identities alike, so the claim is that of k-Same.

    References
    ----------
    Jeon, Park, Kim, Morley & Cho, ECCV 2022, section 3.
    """

    info: ClassVar[MethodInfo] = MethodInfo(
        name="k_salsa",
        version="2",
        summary="Mean GAN codes of at least k identities, aligned with their sources' local style.",
        citation="Jeon et al. 2022, ECCV (k-SALSA)",
        kinds=IMAGES,
        resources=TIME,
    )

    content_weight: float = Field(
        100.0, ge=0, allow_inf_nan=False, description="weight of 1 − cosine of content features"
    )
    style_weight: float = Field(
        1e-6, ge=0, allow_inf_nan=False, description="weight of the distance of Gram matrices"
    )
    alignment_steps: int = Field(100, ge=0, description="steps of Adam on each mean code")
    epochs: int | None = Field(
        None, ge=1, description="of the class classifier; by default 30 or enough for 400 steps"
    )

    def _codes(
        self, bench: Bench, groups: list[ClassGroup]
    ) -> tuple[torch.Tensor, dict[str, float]]:
        from methods.latent.averages import Style

        style = Style(
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            steps=self.alignment_steps,
        )
        return bench.aligned(groups, bench.class_namer(self.epochs), style)
