"""The networks of the zoo: published checkpoints fit, features are found, and all learn or classify
what they are meant to.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

import unspan
from unspan import zoo
from unspan.data import images
from unspan.data.opening import open_data
from unspan.data.preprocess import Preprocess
from unspan.extraction import find_feature_layer
from unspan.models import build, rebuild, recipe_of, runs_user_code
from unspan.zoo import AllCNN, CifarResNet, DigitsCNN, NarrowViT
from unspan.zoo.vit import EncoderBlock

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
CHECKPOINT = SHARED / "checkpoints" / "allcnn-cifar10-original.safetensors"


def test_allcnn_takes_the_published_checkpoint_strictly():
    if not CHECKPOINT.is_file():
        pytest.skip(f"needs the shared checkpoint {CHECKPOINT.name}")
    model = AllCNN().eval()
    model.load_state_dict(load_file(CHECKPOINT), strict=True)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_allcnn_features_are_96_non_negative_numbers():
    model = AllCNN(num_classes=7).eval()
    shapes, features = {}, []
    model.pool.register_forward_pre_hook(lambda _module, args: shapes.update(map=args[0].shape))
    model.head.register_forward_pre_hook(lambda _module, args: features.append(args[0]))
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 7)
    assert shapes["map"] == (2, 96, 8, 8)
    assert features[0].shape == (2, 96)
    assert features[0].min() >= 0


def test_every_layer_of_allcnn_is_a_module_that_runs():
    model = AllCNN().eval()
    ran = []
    for name, module in model.named_children():
        module.register_forward_hook(lambda *_, name=name: ran.append(name))
    model(torch.randn(1, 3, 32, 32))
    layers = [f"{kind}{number}" for number in range(1, 9) for kind in ("conv", "bn", "relu")]
    assert ran == [*layers, "pool", "flatten", "head"]


NETWORKS = {
    "AllCNN": ("head", 96),
    "resnet20": ("fc", 64),
    "resnet56": ("fc", 64),
    "NarrowViT": ("head", 128),
}


def few_images(classes: int = 3) -> list[tuple[torch.Tensor, int]]:
    """Images whose brightness says the class."""
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.randn(3, 32, 32, generator=draw) + i % classes - 1, i % classes)
        for i in range(8 * classes)
    ]


def cifar100() -> tuple[torch.Tensor, torch.Tensor]:
    """Every fifth of 2,000 test images as the networks of the public weights take them, with
    their labels.
    """
    folder = SHARED / "data" / "cifar100-avif"
    if not folder.is_dir():
        pytest.skip(f"needs the shared data {folder.name}")
    if "AVIF" not in images._SUFFIXES:
        pytest.skip("this Pillow reads no AVIF: 11.3 or newer does")
    prepare = Preprocess.from_dict(CifarResNet.preprocess)
    test = open_data(str(folder), transform=prepare, label_column="fine_label")["test"]
    rows = [test[i] for i in range(0, 2000, 5)]
    return torch.stack([x for x, _ in rows]), torch.tensor([y for _, y in rows])


@pytest.mark.parametrize(("depth", "measured"), [(20, 0.669), (56, 0.707)])
def test_public_resnets_load_and_name_as_many_images_as_measured(depth, measured):
    weights = SHARED / "checkpoints" / f"cifar100_resnet{depth}.safetensors"
    if not weights.is_file():
        pytest.skip(f"needs the shared checkpoint {weights.name}")
    inputs, labels = cifar100()
    model = build(f"python:unspan.zoo:resnet{depth}", weights=weights).model
    with torch.inference_mode():
        share = (model(inputs).argmax(1) == labels).float().mean()
    assert abs(share - measured) < 3 * (measured * (1 - measured) / 400) ** 0.5


@pytest.mark.parametrize("depth", [32, 44])
def test_other_public_resnets_load_strictly(depth):
    weights = SHARED / "checkpoints" / f"cifar100_resnet{depth}.safetensors"
    if not weights.is_file():
        pytest.skip(f"needs the shared checkpoint {weights.name}")
    state = load_file(weights)
    model = getattr(zoo, f"resnet{depth}")()
    model.load_state_dict(state, strict=True)
    layers = [one for one in model.modules() if isinstance(one, (torch.nn.Conv2d, torch.nn.Linear))]
    shortcuts = [name for name, _ in model.named_modules() if name.endswith("downsample.0")]
    assert len(layers) - len(shortcuts) == depth


@pytest.mark.parametrize("name", NETWORKS)
def test_esc_removes_its_directions_from_the_features_of_every_network(name):
    head, width = NETWORKS[name]
    model = getattr(zoo, name)(num_classes=3).eval()
    data = few_images()
    place = find_feature_layer(model, torch.stack([x for x, _ in data]))[0]
    assert (place.head, place.dim) == (head, width) and place.site != head
    result = unspan.erase(model, unspan.Request.by_class(data, [1]), unspan.ESC(rank=2))
    forgotten = torch.stack([x for x, y in data if y == 1])
    seen = []
    for one in (model, result.model):
        hook = one.get_submodule(head).register_forward_pre_hook(
            lambda _module, args: seen.append(args[0].detach().double())
        )
        with torch.inference_mode():
            one(forgotten)
        hook.remove()
    directions = torch.linalg.svd(seen[0], full_matrices=False).Vh[:2]
    wanted = seen[0] - seen[0] @ directions.T @ directions
    assert torch.allclose(seen[1], wanted, atol=1e-3 * float(seen[0].abs().max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_recipe_of_a_network_builds_it_without_user_code(name):
    model = getattr(zoo, name)(num_classes=3)
    recipe = recipe_of(model)
    assert recipe is not None and not runs_user_code(recipe)
    rebuild(recipe).load_state_dict(model.state_dict(), strict=True)


def test_a_wide_digits_network_has_a_recipe_of_its_own():
    assert recipe_of(zoo.wide_digits())["spec"] == "python:unspan.zoo:wide_digits"
    assert recipe_of(DigitsCNN(width=80)) is None


def test_the_attention_of_the_vit_is_that_of_torch():
    block = EncoderBlock(width=64, heads=2).double()
    x = torch.randn(2, 5, 64, dtype=torch.float64)
    torch_block = torch.nn.MultiheadAttention(64, 2, batch_first=True, dtype=torch.float64)
    torch_block.in_proj_weight.data = block.qkv.weight.data
    torch_block.in_proj_bias.data = block.qkv.bias.data
    torch_block.out_proj.load_state_dict(block.proj.state_dict())
    assert torch.allclose(block._attention(x), torch_block(x, x, x)[0])


def test_digits_cnn_learns_the_digits_in_seconds():
    torch.manual_seed(0)
    digits = load_digits()
    images, labels = (
        torch.tensor(digits.images).float().unsqueeze(1) / 16,
        torch.tensor(digits.target),
    )
    train, test = slice(0, 1400), slice(1400, None)
    model = DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8):
        for rows in torch.randperm(1400).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(
                model(images[train][rows]), labels[train][rows]
            ).backward()
            optimizer.step()
    accuracy = (model.eval()(images[test]).argmax(1) == labels[test]).float().mean()
    assert accuracy > 0.9


@pytest.mark.parametrize(
    ("network", "channels"), [(AllCNN, 3), (CifarResNet, 3), (NarrowViT, 3), (DigitsCNN, 1)]
)
def test_documented_input_is_a_preprocess(network, channels):
    preprocess = Preprocess.from_dict(network().preprocess)
    assert len(preprocess.mode) == len(preprocess.mean) == channels
