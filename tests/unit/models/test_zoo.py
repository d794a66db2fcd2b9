"""The two networks of the zoo: the published checkpoint fits, and both learn or classify what they
are meant to.
"""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits

from unspan.data.preprocess import Preprocess
from unspan.zoo import AllCNN, DigitsCNN

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


@pytest.mark.parametrize(("network", "channels"), [(AllCNN, 3), (DigitsCNN, 1)])
def test_documented_input_is_a_preprocess(network, channels):
    preprocess = Preprocess.from_dict(network().preprocess)
    assert len(preprocess.mode) == len(preprocess.mean) == channels
