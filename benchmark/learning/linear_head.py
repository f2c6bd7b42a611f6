"""A linear classifier on features, trained as the papers on feature anonymisation do.

Cross-entropy, Adam 1e-3, batches of 128, at most 100 epochs, early stopping on the loss over real
validation features (patience 5), features z-scored on the training release (Di Salvo et al., BMVC
2024, arXiv 2408.00639).

Scaling by the release has a weak spot: a feature that is all but constant there, but not among real records, is blown
up and decides alone. ``reach`` cuts the standardised features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.fleet import Trainee, train_fleet
from benchmark.learning.training import build

__all__ = ["LinearHead", "fit_linear_head", "fit_linear_heads"]


@dataclass(frozen=True, eq=False)
class LinearHead:
    """A trained head with its scaling.

    Parameters
    ----------
    weight : ndarray of shape (P, D), float64
        One row for each class that was present in training.
    bias : ndarray of shape (P,), float64
    centre, scale : ndarray of shape (D,), float64
        z = (features − centre) / scale.
    classes : ndarray of shape (P,), int64
        Labels of the rows, ascending.
    n_classes : int
        Number of columns that :meth:`probabilities` returns.
    epochs, best_epoch : int
        Epochs run, and the one whose weights were kept.
    validation_loss : float
        Cross-entropy there, in nats.
    reach : float, optional
        z is cut to [−reach, reach], as it was in training; None for no limit.
    """

    weight: np.ndarray
    bias: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    classes: np.ndarray
    n_classes: int
    epochs: int
    best_epoch: int
    validation_loss: float
    reach: float | None = None

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities ``(n, n_classes) float64`` of features ``(n, D)``; rows sum to 1.

        A class that was missing in training gets exactly 0.
        """
        z = _standardised(features, self.centre, self.scale, self.reach)
        # Not a matrix product: that would sum in an order that depends on the number of threads.
        logits = np.einsum("nd,pd->np", z, self.weight) + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)
        probabilities = np.zeros((len(z), self.n_classes))
        probabilities[:, self.classes] = shares / shares.sum(axis=1, keepdims=True)
        return probabilities


def fit_linear_head(
    features: np.ndarray,
    labels: np.ndarray,
    n_classes: int,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    generator: torch.Generator,
    lr: float = 1e-3,
    batch_size: int = 128,
    epochs: int = 100,
    patience: int = 5,
    reach: float | None = None,
    device: str = "cpu",
) -> LinearHead:
    """Train a head on ``features`` and keep its best weights by validation loss.

    The answer does not depend on the number of CPU threads. Only classes present in ``labels``
    compete; validation records of other classes do not count.
    Where none are left, the training loss decides when to stop.

    Parameters
    ----------
    features : ndarray of shape (n, D), float32
        Finite; n ≥ 1. A feature that is constant here is ignored.
    labels : ndarray of shape (n,), int64
        In ``range(n_classes)``.
    n_classes : int
    validation : pair of ndarrays
        Real features ``(v, D)`` and labels ``(v,)``.
    generator : torch.Generator
        On the CPU; initial weights and the order of records are drawn there.
    lr, batch_size, epochs, patience
        Adam's step, records a step, most epochs, epochs without progress before stopping.
    reach : float > 0, optional
        Standardised features are cut to [−reach, reach], those of training and validation records as well as new ones.
    device : str, default="cpu"
    """
    (head,) = fit_linear_heads(
        [(features, labels)],
        n_classes,
        validation=validation,
        generators=[generator],
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
        reach=reach,
        device=device,
    )
    return head


def fit_linear_heads(
    training: Sequence[tuple[np.ndarray, np.ndarray]],
    n_classes: int,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    generators: Sequence[torch.Generator],
    lr: float = 1e-3,
    batch_size: int = 128,
    epochs: int = 100,
    patience: int = 5,
    reach: float | None = None,
    device: str = "cpu",
) -> list[LinearHead]:
    """Train a fleet of heads, one on each pair of features and labels, with one validation set.

    Each is what :func:`fit_linear_head` would give for it, up to rounding; numbers of records and the
    classes present may differ.
    """
    prepared = [
        _prepare(features, labels, validation, generator, reach, device)
        for (features, labels), generator in zip(training, generators, strict=True)
    ]
    summaries = train_fleet(
        [trainee for trainee, *_ in prepared],
        _cross_entropy,
        noise=0,
        lr=lr,
        batch_size=batch_size,
        epochs=epochs,
        patience=patience,
    )
    return [
        LinearHead(
            weight=_numpy(trainee.network.get_parameter("weight")),
            bias=_numpy(trainee.network.get_parameter("bias")),
            centre=centre,
            scale=scale,
            classes=classes,
            n_classes=n_classes,
            epochs=summary.epochs,
            best_epoch=summary.best_epoch,
            validation_loss=summary.validation_loss,
            reach=reach,
        )
        for (trainee, classes, centre, scale), summary in zip(prepared, summaries, strict=True)
    ]


def _prepare(
    features: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    generator: torch.Generator,
    reach: float | None,
    device: str,
) -> tuple[Trainee, np.ndarray, np.ndarray, np.ndarray]:
    """A head at its initial weights with its z-scored records; classes, centre and scale."""
    classes = np.unique(labels)
    centre, scale = _scaling(features)

    def prepare(features: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        known = np.isin(labels, classes)
        z = _standardised(features[known], centre, scale, reach).astype(np.float32)
        targets = np.searchsorted(classes, labels[known])
        return torch.from_numpy(z).to(device), torch.from_numpy(targets).to(device)

    data, checks = prepare(features, labels), prepare(*validation)
    head = build(lambda: nn.Linear(features.shape[1], len(classes)), generator, device)
    trainee = Trainee(head, data, checks if len(checks[0]) else data, generator)
    return trainee, classes, centre, scale


def _numpy(parameter: nn.Parameter) -> np.ndarray:
    numbers: np.ndarray = parameter.detach().cpu().double().numpy()
    return numbers


def _cross_entropy(
    network: nn.Module, batch: tuple[torch.Tensor, ...], noise: torch.Tensor | None
) -> torch.Tensor:
    """Of each record, ``(M, B)``, in nats."""
    z, targets = batch
    return F.cross_entropy(network(z).movedim(-1, 1), targets, reduction="none")


def _standardised(
    features: np.ndarray, centre: np.ndarray, scale: np.ndarray, reach: float | None
) -> np.ndarray:
    z: np.ndarray = (np.asarray(features, dtype=np.float64) - centre) / scale
    return z if reach is None else z.clip(-reach, reach)


def _scaling(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; infinite, so that z = 0, where it is constant."""
    centre = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    constant = scale <= 1e-7 * np.maximum(np.abs(centre), 1e-30)
    return centre, np.where(constant, np.inf, scale)
