"""timm models with local checkpoints made here; nothing is downloaded."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest

from benchmark.conformance import checks_for
from benchmark.contracts import Context, InvalidRecords, Unavailable
from benchmark.features.timm_model import TimmModel

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
CONTEXT = Context(seed=0)
VIT = "test_vit.r160_in1k"
CNN = "test_efficientnet.r160_in1k"


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), dtype=np.uint8)


def network(name, **arguments):
    torch.manual_seed(0)
    return timm.create_model(name.partition(".")[0], **arguments).eval()


def checkpoint_of(model, path: Path) -> str:
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(model.state_dict(), path)
    else:
        torch.save(model.state_dict(), path)
    return str(path)


def prepared(images, name, size):
    """Input by Pillow-free means: float64, the model's own mean, deviation and interpolation."""
    config = timm.get_pretrained_cfg(name)
    x = torch.tensor(images).permute(0, 3, 1, 2).double() / 255
    mode = config.interpolation
    x = torch.nn.functional.interpolate(x, (size, size), mode=mode, antialias=True).clamp(0, 1)
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(1, 3, 1, 1) for v in (config.mean, config.std)
    )
    return ((x - mean) / std).float()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", [VIT, CNN])
def test_features_are_those_before_the_classifier(tmp_path, images, name, suffix):
    model = network(name)
    path = checkpoint_of(model, tmp_path / f"weights{suffix}")
    features = TimmModel(model=name, checkpoint=path).extract(images, CONTEXT)
    assert features.dtype == np.float32
    with torch.inference_mode():
        hidden = model.forward_features(prepared(images, name, 160))
        pooled = hidden[:, 0] if name == VIT else hidden.mean(dim=(2, 3))
        expected = model.fc_norm(pooled) if name == VIT else pooled
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert features.std(axis=0).max() > 1e-4, "the features must depend on the image"


@pytest.mark.parametrize("name", [VIT, CNN])
def test_a_copy_has_the_features_of_its_original_to_the_last_bit(tmp_path, name):
    path = checkpoint_of(network(name), tmp_path / "weights.safetensors")
    extractor = TimmModel(model=name, checkpoint=path)
    rng = np.random.default_rng(1)
    originals = rng.integers(0, 256, (11, 40, 40, 3), dtype=np.uint8)
    whole = extractor.extract(np.tile(originals, (2, 1, 1, 1)), CONTEXT)
    np.testing.assert_array_equal(whole, np.tile(whole[:11], (2, 1)))
    for n in (1, 3, 8):
        np.testing.assert_array_equal(extractor.extract(originals[:n], CONTEXT), whole[:n])


def test_conformance(tmp_path):
    path = checkpoint_of(network(VIT), tmp_path / "weights.safetensors")
    for check in checks_for(TimmModel(model=VIT, checkpoint=path)):
        check(tmp_path)


def test_a_checkpoint_without_a_classifier_will_do(tmp_path, images):
    with_classifier = checkpoint_of(network(VIT), tmp_path / "with.safetensors")
    without = checkpoint_of(network(VIT).eval(), tmp_path / "without.safetensors")
    from safetensors.torch import load_file, save_file

    tensors = load_file(without)
    save_file({k: v for k, v in tensors.items() if not k.startswith("head.")}, without)
    first, second = (
        TimmModel(model=VIT, checkpoint=path).extract(images, CONTEXT)
        for path in (with_classifier, without)
    )
    np.testing.assert_array_equal(first, second)


def test_resolution_resamples_position_embeddings_of_transformers(tmp_path, images):
    path = checkpoint_of(network(VIT), tmp_path / "weights.safetensors")
    small = TimmModel(model=VIT, checkpoint=path, resolution=80).extract(images, CONTEXT)
    from timm.models import load_checkpoint
    from timm.models.vision_transformer import checkpoint_filter_fn

    reference = network(VIT, img_size=80)
    load_checkpoint(reference, path, filter_fn=checkpoint_filter_fn)
    reference.reset_classifier(0)
    with torch.inference_mode():
        expected = reference(prepared(images, VIT, 80))
    np.testing.assert_allclose(small, expected, atol=1e-4)


def test_resolution_of_convolutional_networks(tmp_path, images):
    model = network(CNN)
    path = checkpoint_of(model, tmp_path / "weights.safetensors")
    model.reset_classifier(0)
    features = TimmModel(model=CNN, checkpoint=path, resolution=64).extract(images, CONTEXT)
    with torch.inference_mode():
        expected = model(prepared(images, CNN, 64))
    np.testing.assert_allclose(features, expected, atol=1e-4)


def test_dinov2_by_name_gives_its_class_token(tmp_path):
    """The foundation model of the documentation, untrained and small in resolution, through its own configuration."""
    name = "vit_small_patch14_dinov2.lvd142m"
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, img_size=28).eval()
    path = checkpoint_of(model, tmp_path / "weights.safetensors")
    gray = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    plugin = TimmModel(**TimmModel.from_variant(name), checkpoint=path, resolution=28)
    features = plugin.extract(gray, CONTEXT)
    assert features.shape == (2, 384)
    with torch.inference_mode():
        x = prepared(np.repeat(gray, 3, axis=3), name, 28)
        tokens = model.forward_features(x)
    np.testing.assert_allclose(features, tokens[:, 0], atol=1e-4)


def test_a_checkpoint_of_another_model_is_refused_rather_than_half_loaded(tmp_path, images):
    path = checkpoint_of(network("test_vit2"), tmp_path / "other.safetensors")
    with pytest.raises(
        InvalidRecords, match=f"other.safetensors does not hold the weights of {VIT}"
    ):
        TimmModel(model=VIT, checkpoint=path).extract(images, CONTEXT)
    model = network(CNN)
    state = model.state_dict()
    state.pop("conv_stem.weight")
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(InvalidRecords, match=r"conv_stem.weight"):
        TimmModel(model=CNN, checkpoint=str(tmp_path / "short.pth")).extract(images, CONTEXT)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_checkpoint_is_never_unpickled(tmp_path, images):
    marker = tmp_path / "executed"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (marker,))

    path = tmp_path / "bomb.pth"
    torch.save({"state_dict": Bomb()}, path)
    with pytest.raises(InvalidRecords, match=r"bomb.pth cannot be read.* nothing is unpickled"):
        TimmModel(model=VIT, checkpoint=str(path)).extract(images, CONTEXT)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InvalidRecords, match="cannot be read"):
        TimmModel(model=VIT, checkpoint=str(path)).extract(images, CONTEXT)
    assert not marker.exists()


def test_fingerprint_is_the_digest_of_the_checkpoint(tmp_path):
    path = checkpoint_of(network(VIT), tmp_path / "weights.safetensors")
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    assert TimmModel(model=VIT, checkpoint=path).fingerprint() == digest
    assert TimmModel(model=VIT).fingerprint() == ""
    assert TimmModel.info.places == {"checkpoint"}
    with pytest.raises(Unavailable, match=r"absent.pth is not a file"):
        TimmModel(model=VIT, checkpoint=str(tmp_path / "absent.pth")).fingerprint()


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"model": "vit_base_patch14_dinov3000"}, "Did you mean .*vit_base_patch14_dinov2 "),
        (
            {"model": "test_vit.nonsense"},
            "no weights 'test_vit.nonsense'. Its weights .*test_vit.r160_in1k",
        ),
        (
            {"model": VIT, "checkpoint": "absent.safetensors"},
            "checkpoint absent.safetensors is not a file",
        ),
    ],
)
def test_what_cannot_be_had_says_what_to_do(images, parameters, message):
    with pytest.raises(Unavailable, match=message):
        TimmModel(**parameters).extract(images, CONTEXT)


def test_without_a_network_it_says_what_to_do(images, monkeypatch, tmp_path):
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(
        Unavailable, match=f"weights of {VIT} cannot be had: .*Connect .*`checkpoint`"
    ):
        TimmModel(model=VIT).extract(images, CONTEXT)
