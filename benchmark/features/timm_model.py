"""Any image model of timm as an extractor, foundation models such as DINOv2 included."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmark.contracts import (
    Context,
    FeatureExtractor,
    Field,
    Info,
    InvalidRecords,
    Resources,
    Unavailable,
)
from benchmark.datasets.locate import sha256_file
from benchmark.features.network import Interpolation, Preparation, run_network

if TYPE_CHECKING:
    import torch

__all__ = ["TimmModel"]

CHECKPOINT_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")


class TimmModel(FeatureExtractor):
    """What a timm model gives without its classifier; ``timm/vit_base_patch14_dinov2.lvd142m``
    names one.

    That is the model's own pooling (``num_classes=0``): for most vision transformers, DINOv2 among
    them, the class token after the last normalisation; for convolutional networks the global
    average. The whole image is resized to ``resolution`` and normalised as the model's
    configuration says; gray images are repeated in three channels.

    Weights come from ``checkpoint``, a ``.safetensors`` file or a file of ``torch.save`` that holds
    nothing but tensors, with or without a classifier; without one, timm downloads its pretrained
    weights or takes them from its cache."""

    info: ClassVar[Info] = Info(
        name="timm",
        version="2",
        summary="Any image model of timm, such as timm/vit_base_patch14_dinov2.lvd142m",
        citation="Wightman 2019, PyTorch Image Models, doi:10.5281/zenodo.4414861",
        places=frozenset({"checkpoint"}),
        resources=Resources(gpu=True),
    )
    model: str = Field(min_length=1, description="a model of timm, as in `timm.list_models()`")
    checkpoint: str | None = Field(None, description="local file of weights, instead of a download")
    resolution: int | None = Field(
        None, ge=8, le=2048, description="side to which images are resized; by default the model's"
    )

    @classmethod
    def from_variant(cls, variant: str) -> dict[str, Any]:
        """The model's name."""
        return {"model": variant}

    def fingerprint(self) -> str:
        """Digest of the checkpoint, if there is one."""
        return sha256_file(self._checkpoint()) if self.checkpoint is not None else ""

    def extract(self, images: np.ndarray, context: Context) -> np.ndarray:
        """Features ``(N, D) float32`` of images ``(N, H, W, C) uint8``; D is the model's.

        Raises
        ------
        Unavailable
            When timm has no such model, or its weights cannot be had; says what to do.
        InvalidRecords
            When the checkpoint is damaged or belongs to another model.
        """
        config = self._config()
        resolution = self.resolution or config.input_size[-1]
        interpolation: Interpolation = (
            "bilinear" if config.interpolation == "bilinear" else "bicubic"
        )
        preparation = Preparation(resolution, config.mean, config.std, interpolation)
        return run_network(self._network(config), images, preparation, context)

    def _config(self) -> Any:
        """timm's configuration of the model's input and weights."""
        import timm

        architecture = self.model.partition(".")[0]
        if not timm.is_model(architecture):
            near = difflib.get_close_matches(architecture, timm.list_models(), n=3)
            hint = f"Did you mean {' or '.join(near)}? " if near else ""
            raise Unavailable(
                f"timm has no model {architecture!r}. {hint}`timm.list_models()` lists them all."
            )
        try:
            config: Any = timm.get_pretrained_cfg(self.model, allow_unregistered=False)
        except RuntimeError as error:  # an unknown tag after the dot
            known = ", ".join(timm.list_pretrained(f"{architecture}.*")) or "none"
            raise Unavailable(
                f"timm has no weights {self.model!r}. Its weights of {architecture}: {known}."
            ) from error
        if config.input_size[0] != 3:
            raise Unavailable(
                f"{self.model} takes {config.input_size[0]} channels. Choose a model that takes 3."
            )
        return config

    def _network(self, config: Any) -> torch.nn.Module:
        # Only models of fixed size are told it; they resample their position embeddings to it.
        fixed = self.resolution is not None and config.fixed_input_size
        arguments = {"img_size": self.resolution} if fixed else {}
        if self.checkpoint is not None:
            return self._from_checkpoint(config, arguments)
        return self._pretrained(arguments)

    def _pretrained(self, arguments: dict[str, Any]) -> torch.nn.Module:
        import timm

        try:
            return timm.create_model(self.model, pretrained=True, num_classes=0, **arguments)
        except Exception as error:  # networks, hubs and caches fail in many ways
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise Unavailable(
                f"the weights of {self.model} cannot be had: {reason[0]} "
                "Connect to the network once, so that timm can put them into its cache, or give "
                "`checkpoint` a local file (.safetensors, or .pth of tensors only)."
            ) from error

    def _from_checkpoint(self, config: Any, arguments: dict[str, Any]) -> torch.nn.Module:
        import timm

        path = self._checkpoint()
        weights = _read(path)
        classifiers = config.classifier or ()
        for name in (classifiers,) if isinstance(classifiers, str) else classifiers:
            weights.pop(f"{name}.weight", None)
            weights.pop(f"{name}.bias", None)
        # Saying that the weights have no classes makes timm load strictly: a tensor that is missing or left over is an
        # error rather than a random layer.
        overlay = {"state_dict": weights, "num_classes": 0, "label_offset": 0, "custom_load": False}
        try:
            return timm.create_model(
                self.model,
                pretrained=True,
                pretrained_cfg_overlay=overlay,
                num_classes=0,
                **arguments,
            )
        except Exception as error:  # filters of third parties meet unknown tensors
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            raise InvalidRecords(
                f"{path} does not hold the weights of {self.model}: {reason} "
                "Give the checkpoint of this very model."
            ) from error

    def _checkpoint(self) -> Path:
        path = Path(self.checkpoint or "").expanduser()
        if not path.is_file() or path.suffix not in CHECKPOINT_SUFFIXES:
            raise Unavailable(
                f"the checkpoint {path} is not a file ending in {', '.join(CHECKPOINT_SUFFIXES)}. "
                f"Give `checkpoint` the file of the weights of {self.model}."
            )
        return path


def _read(path: Path) -> dict[str, torch.Tensor]:
    from timm.models import load_state_dict

    try:
        return dict(load_state_dict(str(path), weights_only=True))
    except Exception as error:  # damaged files raise errors of many kinds
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InvalidRecords(
            f"the checkpoint {path} cannot be read: {reason} "
            "Allowed: .safetensors, or torch.save of tensors only; nothing is unpickled."
        ) from error
