"""Our transforms against the real ones of torchvision and timm; run where both are installed."""

import numpy as np
import pytest
import torch
from PIL import Image

from unspan.data.preprocess import Preprocess

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

SIZES = [(500, 375), (375, 501), (256, 256), (224, 224), (333, 1000), (90, 61), (231, 317), (1, 5)]
TIMM_MODELS = [
    "resnet18.a1_in1k",
    "resnet50.a1_in1k",
    "vit_base_patch16_224.augreg2_in21k_ft_in1k",
    "convnext_tiny.fb_in1k",
    "efficientnet_b0.ra_in1k",
    "mobilenetv3_large_100.ra_in1k",
    "swin_tiny_patch4_window7_224.ms_in1k",
    "convnextv2_base.fcmae_ft_in22k_in1k_384",
]


def noise(size: tuple[int, int]) -> Image.Image:
    rng = np.random.default_rng(size)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = rng.integers(-20, 20, (size[1], size[0], 3))
    return Image.fromarray((np.array(coarse) + grain).clip(0, 255).astype(np.uint8))


def assert_same(ours: Preprocess, theirs) -> None:
    for size in SIZES:
        image = noise(size)
        torch.testing.assert_close(
            ours(image), theirs(image), rtol=0, atol=1e-6, msg=lambda m, s=size: f"{s}: {m}"
        )


def weights_of_each_setting():
    seen = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        for weights in torchvision.models.get_model_weights(name):
            preset = weights.transforms()
            seen[repr(preset)] = pytest.param(preset, id=f"{name}-{weights.name}")
    return list(seen.values())


@pytest.mark.parametrize("preset", weights_of_each_setting())
def test_torchvision_classification_presets(preset):
    assert_same(Preprocess.from_torchvision(preset), preset)


@pytest.mark.parametrize("name", TIMM_MODELS)
def test_timm_models(name):
    cfg = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=cfg), is_training=False
    )
    assert_same(Preprocess.from_timm(cfg), theirs)


@pytest.mark.parametrize("crop_mode", ["center", "squash"])
@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 1.0, None])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_timm_settings(crop_mode, crop_pct, interpolation):
    cfg = {
        "input_size": (3, 97, 97),
        "crop_mode": crop_mode,
        "crop_pct": crop_pct,
        "interpolation": interpolation,
        "mean": (0.4, 0.5, 0.6),
        "std": (0.2, 0.3, 0.4),
    }
    theirs = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=cfg), is_training=False
    )
    assert_same(Preprocess.from_timm(cfg), theirs)


@pytest.mark.parametrize("resize", [None, 50, 51, (40, 61)])
@pytest.mark.parametrize("crop", [None, (33, 32), (80, 81)])
def test_torchvision_steps(resize, crop):
    t = torchvision.transforms
    steps = [t.Resize(resize)] if resize else []
    steps += [t.CenterCrop(crop)] if crop else []
    steps += [t.ToTensor(), t.Normalize((0.4, 0.5, 0.6), (0.2, 0.3, 0.4))]
    assert_same(
        Preprocess(resize=resize, crop=crop, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4)),
        t.Compose(steps),
    )
