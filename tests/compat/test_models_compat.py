"""Specs of timm and torchvision, with weights saved from randomly initialised models: no
network.
"""

import json
import urllib.error

import pytest
import torch
from safetensors.torch import save_file

timm = pytest.importorskip("timm")
torchvision = pytest.importorskip("torchvision")

from unspan.artifact.exporter import export  # noqa: E402
from unspan.data.preprocess import Preprocess  # noqa: E402
from unspan.errors import ModelError, UsageError  # noqa: E402
from unspan.models import build, rebuild  # noqa: E402

MAKERS = {
    "timm:resnet18": lambda n: timm.create_model("resnet18", num_classes=n),
    "timm:vit_tiny_patch16_224": lambda n: timm.create_model("vit_tiny_patch16_224", num_classes=n),
    "torchvision:resnet18": lambda n: torchvision.models.resnet18(num_classes=n),
    "torchvision:squeezenet1_1": lambda n: torchvision.models.squeezenet1_1(num_classes=n),
}


def saved(model, path):
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)
    return path


@pytest.mark.parametrize("num_classes", [7, 1000])
@pytest.mark.parametrize("spec", MAKERS)
def test_the_number_of_classes_comes_from_the_weights(tmp_path, spec, num_classes):
    torch.manual_seed(0)
    original = MAKERS[spec](num_classes).eval()
    loaded = build(spec, weights=saved(original, tmp_path / "w.safetensors"))
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(loaded.model(images), original(images))
    assert loaded.recipe == {"spec": spec, "num_classes": num_classes}
    assert isinstance(loaded.preprocess, Preprocess)
    assert loaded.preprocess.crop == (224, 224)
    assert loaded.class_names is None
    rebuild(json.loads(json.dumps(loaded.recipe))).load_state_dict(original.state_dict())


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18"])
def test_weights_of_another_architecture_are_refused(tmp_path, spec):
    other = torchvision.models.mobilenet_v3_small(num_classes=3)
    with pytest.raises(ModelError, match="missing"):
        build(spec, weights=saved(other, tmp_path / "w.safetensors"))


@pytest.mark.parametrize(
    ("spec", "close"), [("timm:resnet1", "resnet18"), ("torchvision:resnet_18", "resnet18")]
)
def test_unknown_names_list_close_ones(spec, close):
    with pytest.raises(UsageError, match=close):
        build(spec)


def test_networks_that_change_with_their_published_weights_are_refused():
    with pytest.raises(UsageError, match="no usable model 'googlenet'"):
        build("torchvision:googlenet")


@pytest.mark.parametrize("spec", ["timm:resnet18", "torchvision:resnet18"])
def test_published_weights_need_the_network_and_their_own_classes(spec, monkeypatch):
    def unreachable(*args, **kwargs):
        raise urllib.error.URLError("offline")

    monkeypatch.setattr("timm.models._builder.load_pretrained", unreachable)
    monkeypatch.setattr("torchvision.models._api.WeightsEnum.get_state_dict", unreachable)
    with pytest.raises(
        UsageError, match=r"pass --weights FILE\.safetensors \(the hub could not be reached\)"
    ):
        build(spec)
    with pytest.raises(UsageError, match="published weights have their own classes"):
        build(spec, num_classes=3)


def test_a_timm_model_exports(tmp_path):
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", num_classes=7, depth=1)
    assert export(model, torch.randn(2, 3, 224, 224), tmp_path / "model.pt2", format="pt2") < 1e-4
