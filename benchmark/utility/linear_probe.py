"""How well a linear classifier trained on the release does on real records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from benchmark.contracts import Context, Field, Predictions, Records, Utility, UtilityInfo

__all__ = ["LinearProbe"]


class LinearProbe(Utility):
    """Multinomial logistic regression trained on the release, tested on real records.

    "Train on synthetic, test on real" with the same head for every method: pixels are flattened,
    features taken as they are. The head is trained once, with early stopping on real validation
    records, and predicts for every test condition.

    Parameters
    ----------
    lr : float, default=0.01
        Learning rate.
    batch_size : int, default=256
    epochs : int, default=100
        At most this many passes over the release.
    patience : int, default=10
        Passes without a better validation loss after which training stops.

    References
    ----------
    Esteban, Hyland, Rätsch (2017). Real-valued medical time series generation (TSTR).
    arXiv:1706.02633, section 4.3.
    """

    info: ClassVar[UtilityInfo] = UtilityInfo(
        name="linear_probe",
        version="1",
        summary="Accuracy on real records of a linear classifier trained on the release.",
        citation="Esteban, Hyland, Rätsch (2017), arXiv:1706.02633 (train on synthetic, test on real)",
    )

    lr: float = Field(0.01, gt=0, description="learning rate")
    batch_size: int = Field(256, ge=1, description="records in a gradient step")
    epochs: int = Field(100, ge=1, description="at most this many passes over the release")
    patience: int = Field(10, ge=1, description="passes without progress before training stops")

    def evaluate(
        self,
        release: Records,
        validation: Records,
        test: Mapping[str, Records],
        n_classes: int,
        context: Context,
    ) -> Mapping[str, Predictions]:
        """Train on the release once; predict class probabilities under every condition."""
        from benchmark.learning.linear_head import fit_linear_head

        head = fit_linear_head(
            release.flat(),
            release.labels,
            n_classes,
            validation=(validation.flat(), validation.labels),
            lr=self.lr,
            batch_size=self.batch_size,
            epochs=self.epochs,
            patience=self.patience,
            generator=context.torch_generator("linear_probe"),
            device=context.device,
        )
        return {name: Predictions(head.probabilities(part.flat())) for name, part in test.items()}
