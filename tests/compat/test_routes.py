"""Erased where people look: every usual way to take embeddings, on real architectures of timm,
torchvision, transformers.
"""

from __future__ import annotations

import copy
import pickle
import warnings

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor
from transformers import ResNetConfig, ResNetForImageClassification

import unspan
from unspan.erasers import Resampler, placed
from unspan.extraction import attach, find_feature_layer, read

IMAGES = torch.randn(24, 3, 64, 64, generator=torch.Generator().manual_seed(0))
WIDE = torch.randn(24, 3, 224, 224, generator=torch.Generator().manual_seed(0))


def erased(model: nn.Module, images: Tensor, form: str = "projected") -> unspan.Deletion:
    model.eval()
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        deletion = unspan.erase(
            model, images, unspan.ESC(rank=2), unspan.Run(batch_size=8), form=form
        )
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert type(deletion.model) is type(model)
    new = deletion.model.state_dict()
    assert all(new[name].shape == tensor.shape for name, tensor in state.items())
    return deletion


def leak(deletion: unspan.Deletion, features: Tensor) -> float:
    """Share of the features' norm along the removed directions, on the axis that has d entries."""
    basis = deletion.eraser.basis.float()
    if features.shape[-1] != len(basis):
        features = features.movedim(1, -1)
    return float((features @ basis).norm() / features.norm())


TIMM = [
    "resnet18",
    "vit_tiny_patch16_224",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "efficientnet_b0",
    "mobilenetv3_small_100",
    "deit_tiny_patch16_224",
    "mixer_s32_224",
    "densenet121",
    "regnetx_002",
]


@pytest.mark.parametrize("name", TIMM)
def test_timm(name: str) -> None:
    torch.manual_seed(0)
    images = WIDE if "224" in name else IMAGES
    model = timm.create_model(name, num_classes=5)
    nn.init.normal_(model.get_classifier().weight)  # some architectures start with a zero head
    deletion = erased(model, images)
    new, few = deletion.model, images[:4]
    with torch.no_grad():
        assert not torch.allclose(new(few), model.eval()(few))
        assert leak(deletion, unspan.features(new, few)) < 1e-4
        assert leak(deletion, new.forward_head(new.forward_features(few), pre_logits=True)) < 1e-4
        bare = copy.deepcopy(new)
        bare.reset_classifier(0)
        assert leak(deletion, bare(few)) < 1e-4
        assert leak(deletion, pickle.loads(pickle.dumps(bare))(few)) < 1e-4
    print(name, deletion.receipt["placement"]["where"], deletion.receipt["access_paths"])
    if name in ("resnet18", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "densenet121"):
        with torch.no_grad():
            assert leak(deletion, new.forward_features(few)) < 1e-4


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "vit_b_32",
        "mobilenet_v2",
        "efficientnet_b0",
        "densenet121",
        "regnet_y_400mf",
        "vgg11",
        "alexnet",
        "squeezenet1_1",
        "convnext_tiny",
        "swin_t",
    ],
)
def test_torchvision(name: str) -> None:
    torch.manual_seed(0)
    images = (
        IMAGES if name not in ("vit_b_32", "alexnet", "vgg11", "swin_t", "squeezenet1_1") else WIDE
    )
    model = torchvision.models.get_model(name, weights=None, num_classes=5)
    if (
        name == "squeezenet1_1"
    ):  # a convolution head followed by ReLU and pooling: not linear in pooled features
        with pytest.raises(unspan.UnspanError) as caught:
            erased(model, images)
        assert caught.value.exit_code == 2 and "feature_layer=" in str(caught.value)
        return
    deletion = erased(model, images)
    new, few = deletion.model, images[:4]
    assert leak(deletion, unspan.features(new, few)) < 1e-4
    head = deletion.receipt["placement"]["feature_layer"]["head"]
    parent, _, child = head.rpartition(".")
    bare = copy.deepcopy(new)
    setattr(bare.get_submodule(parent), child, nn.Identity())
    with torch.no_grad():
        assert leak(deletion, bare(few)) < 1e-4
    print(name, deletion.receipt["placement"]["where"], deletion.receipt["access_paths"])


@pytest.mark.parametrize(
    "name, node",
    [
        ("resnet18", "layer4"),
        ("resnet18", "avgpool"),
        ("resnet18", "flatten"),
        ("vit_b_32", "encoder.ln"),
        ("mobilenet_v2", "features.18"),
    ],
)
def test_create_feature_extractor(name: str, node: str) -> None:
    images = WIDE if name == "vit_b_32" else IMAGES
    deletion = erased(torchvision.models.get_model(name, weights=None, num_classes=5), images)
    extractor = create_feature_extractor(deletion.model.eval(), [node])
    with torch.no_grad():
        assert leak(deletion, extractor(images[:4])[node]) < 1e-4


def test_forward_hook_and_folded_form_on_torchvision_resnet() -> None:
    model = torchvision.models.resnet18(num_classes=5)
    deletion = erased(model, IMAGES)
    seen = []
    deletion.model.avgpool.register_forward_hook(lambda _m, _a, out: seen.append(out))
    with torch.no_grad():
        deletion.model.eval()(IMAGES[:4])
    assert leak(deletion, seen[0].flatten(1)) < 1e-4
    folded = erased(model, IMAGES, form="folded")
    assert folded.model.state_dict().keys() == model.state_dict().keys()
    assert set(folded.receipt["access_paths"].values()) == {"original"}
    with torch.no_grad():
        torch.testing.assert_close(
            folded.model.eval()(IMAGES[:4]), deletion.model(IMAGES[:4]), rtol=1e-3, atol=1e-4
        )


def test_transformers_resnet_hidden_states() -> None:
    deletion = erased(ResNetForImageClassification(ResNetConfig(num_labels=5)), IMAGES)
    with torch.no_grad():
        out = deletion.model.eval()(IMAGES[:4], output_hidden_states=True)
        assert leak(deletion, out.hidden_states[-1]) < 1e-4
        assert leak(deletion, deletion.model.base_model(IMAGES[:4]).pooler_output.flatten(1)) < 1e-4


def test_exports(tmp_path) -> None:
    deletion = erased(timm.create_model("vit_tiny_patch16_224", num_classes=5), WIDE)
    assert unspan.export(deletion.model, WIDE[:2], tmp_path / "m.pt2", format="pt2") < 1e-3
    assert unspan.export(deletion.model, WIDE[:2], tmp_path / "m.onnx", format="onnx") < 1e-3


@pytest.mark.parametrize("name", TIMM)
def test_a_map_of_whole_vectors_finds_its_place(name: str) -> None:
    """A resampler with random numbers in it: features are exactly its output, at the head's input
    at the latest.
    """
    torch.manual_seed(0)
    images = (WIDE if "224" in name else IMAGES)[:4]
    model = timm.create_model(name, num_classes=5).eval()
    feature_layer, _ = find_feature_layer(model, images, whole=True)
    rows = [torch.randn(count, feature_layer.dim + 1) for count in (2, 3, 3, 12)]
    rows[0][:, -1] += 1e4  # all are gated
    maps = [
        (
            torch.randn(3, feature_layer.dim, feature_layer.dim) / feature_layer.dim**0.5,
            torch.randn(3, feature_layer.dim),
        )
        for _ in range(2)
    ]
    knots = torch.linspace(-2, 2, 5)
    eraser = Resampler(
        forgotten=rows[0],
        others=rows[1],
        assignment=rows[2],
        codebooks=rows[3],
        noise=torch.randn(16, feature_layer.dim),
        maps=maps[0][0],
        offsets=maps[0][1],
        knots=knots.repeat(feature_layer.dim, 1),
        quantiles=knots.repeat(3, feature_layer.dim, 1),
        covariance_correction=maps[1][0],
        shifts=maps[1][1],
    )
    with torch.no_grad():
        clean, _ = read(model, feature_layer, images)
        attach(model, feature_layer, eraser)
        got, _ = read(model, feature_layer, images)
        assert torch.allclose(
            got, placed(eraser, "last", clean)(clean), atol=1e-5
        ) and not torch.allclose(got, clean)
        bare = copy.deepcopy(model)
        bare.reset_classifier(0)
        assert torch.allclose(bare(images), got, atol=1e-5) or feature_layer.before
