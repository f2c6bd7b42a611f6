"""A linear classifier on features, trained as the papers on feature anonymisation do.

Cross-entropy, Adam 1e-3, batches of 128, at most 100 epochs, early stopping on the loss over real
validation features (patience 5), features z-scored on the training release (Di Salvo et al., BMVC
2024, arXiv 2408.00639).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from benchmark.learning.training import EarlyStopping, batches, build, single_thread

__all__ = ["LinearHead", "fit_linear_head"]


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

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """Class probabilities ``(n, n_classes) float64`` of features ``(n, D)``; rows sum to 1.

        A class that was missing in training gets exactly 0.
        """
        z = (np.asarray(features, dtype=np.float64) - self.centre) / self.scale
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
    device : str, default="cpu"
    """
    classes = np.unique(labels)
    centre, scale = _scaling(features)

    def prepare(features: np.ndarray, labels: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        known = np.isin(labels, classes)
        z = ((features[known] - centre) / scale).astype(np.float32)
        targets = np.searchsorted(classes, labels[known])
        return torch.from_numpy(z).to(device), torch.from_numpy(targets).to(device)

    training = prepare(features, labels)
    checking = prepare(*validation)
    if len(checking[0]) == 0:
        checking = training
    head = build(lambda: nn.Linear(features.shape[1], len(classes)), generator, device)
    stopping = EarlyStopping(head, patience)
    with single_thread():
        _train(head, training, checking, stopping, generator, lr, batch_size, epochs)
    stopping.restore_best()
    return LinearHead(
        weight=head.weight.detach().cpu().double().numpy(),
        bias=head.bias.detach().cpu().double().numpy(),
        centre=centre,
        scale=scale,
        classes=classes,
        n_classes=n_classes,
        epochs=stopping.epochs,
        best_epoch=stopping.best_epoch,
        validation_loss=stopping.best_loss,
    )


def _scaling(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature; infinite, so that z = 0, where it is constant."""
    centre = features.mean(axis=0, dtype=np.float64)
    scale = features.std(axis=0, dtype=np.float64)
    constant = scale <= 1e-7 * np.maximum(np.abs(centre), 1e-30)
    return centre, np.where(constant, np.inf, scale)


def _train(
    head: nn.Linear,
    training: tuple[torch.Tensor, torch.Tensor],
    checking: tuple[torch.Tensor, torch.Tensor],
    stopping: EarlyStopping,
    generator: torch.Generator,
    lr: float,
    batch_size: int,
    epochs: int,
) -> None:
    z, targets = training
    optimiser = torch.optim.Adam(head.parameters(), lr=lr, fused=True)
    for _ in range(epochs):
        for index in batches(len(z), batch_size, generator, z.device):
            optimiser.zero_grad()
            F.cross_entropy(head(z[index]), targets[index]).backward()
            optimiser.step()
        with torch.no_grad():
            loss = F.cross_entropy(head(checking[0]), checking[1]).item()
        if stopping.update(loss):
            return
