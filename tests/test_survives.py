"""Which models can be copied and erased, and what an erased model outlives."""

import sys
import threading
from types import ModuleType

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import unspan
from unspan.copying import copied
from unspan.errors import ModelError, UsageError
from unspan.models.libraries import require

X = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.a(x)))


class Keeps(Net):
    """Keeps what it made, in the given way."""

    def __init__(self, how):
        super().__init__()
        self.how, self.kept = how, None
        self.register_buffer("state", torch.zeros(8))

    def forward(self, x):
        z = torch.relu(self.a(x))
        if self.how == "buffer":
            self.state = z.mean(0)
        else:
            self.kept = {
                "plain": z,
                "list": [z, 3],
                "nested": {"layers": [(z, None)]},
                "module": z.mean(0, keepdim=True),
            }[self.how]
        return self.fc(z)


def pruned(net):
    prune.l1_unstructured(net.a, "weight", amount=0.5)
    prune.random_unstructured(net.fc, "weight", amount=1)
    return net


def replaced(net, change):
    net.a = change(net.a)
    return net


GRAPHS = {
    "pruned": lambda: pruned(Net()),
    "weight norm, old": lambda: replaced(Net(), nn.utils.weight_norm),
    "weight norm": lambda: replaced(Net(), parametrizations.weight_norm),
    "spectral norm, old": lambda: replaced(Net(), nn.utils.spectral_norm),
    "spectral norm": lambda: replaced(Net(), parametrizations.spectral_norm),
    **{how: lambda how=how: Keeps(how) for how in ("plain", "list", "nested", "buffer")},
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", GRAPHS)
def test_models_that_hold_tensors_of_a_graph_are_erased(name):
    torch.manual_seed(0)
    net = GRAPHS[name]()
    net(X).sum().backward()  # leaves tensors of a graph in the model
    held = {key: value for key, value in vars(net).items() if isinstance(value, torch.Tensor)}
    deletion = unspan.erase(net, X[:6], unspan.ESC(rank=1))
    gone = unspan.features(deletion.model, X) @ deletion.eraser.basis.float()
    assert gone.abs().max() < 1e-5
    assert all(vars(net)[key] is value for key, value in held.items())
    again = unspan.erase(deletion, X[6:], unspan.ESC(rank=1))
    assert again.receipt["removed_rank"] == 2


def test_a_copy_shares_nothing_and_the_original_still_trains():
    net = Keeps("plain")
    net(X)
    twin = copied(net)
    assert torch.equal(twin.kept, net.kept) and twin.kept.data_ptr() != net.kept.data_ptr()
    net.kept.sum().backward()
    assert net.a.weight.grad is not None and twin.a.weight.grad is None


def test_what_cannot_be_copied_is_named():
    net = Net()
    net.a.lock = threading.Lock()
    with pytest.raises(ModelError, match=r"'a\.lock' cannot be copied.*Set it to None"):
        unspan.erase(net, X, unspan.ESC(rank=1))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["script", "trace", "freeze", "inside"])
def test_torchscript_is_refused_with_the_order_of_steps(how):
    net = Net().eval()
    made = torch.jit.trace(net, X) if how == "trace" else torch.jit.script(net)
    if how == "freeze":
        made = torch.jit.freeze(made)
    if how == "inside":
        made = nn.Sequential(made, nn.Linear(3, 3))
    with pytest.raises(ModelError, match=r"TorchScript.*Erase before"):
        unspan.erase(made, X, unspan.ESC(rank=1))


def test_a_library_of_another_torch_is_a_usage_error(monkeypatch, tmp_path):
    (tmp_path / "torchvision_of_old.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UsageError, match="nms does not exist.*pip install --upgrade torch"):
        require("torchvision_of_old")


@pytest.fixture
def adapter(monkeypatch):
    """The classes of peft that erase looks for, without peft."""
    home = ModuleType("peft.tuners.tuners_utils")
    home.BaseTunerLayer = type("BaseTunerLayer", (), {})
    monkeypatch.setitem(sys.modules, "peft.tuners.tuners_utils", home)

    class Lora(nn.Module, home.BaseTunerLayer):
        def __init__(self, base):
            super().__init__()
            self.base_layer = base

        def forward(self, x):
            return self.base_layer(x)

    return Lora


@pytest.mark.parametrize("layer", ["a", "fc"])
def test_adapters_are_refused_before_the_work(adapter, layer):
    net = Net()
    setattr(net, layer, adapter(getattr(net, layer)))
    with pytest.raises(ModelError, match=rf"'{layer}' of Net.*merge_and_unload\(\) first"):
        unspan.erase(net, X, unspan.ESC(rank=1))


def test_real_adapters_are_refused_and_the_merged_model_is_erased():
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(target_modules=["a"], modules_to_save=["fc"], r=2)
    net = peft.get_peft_model(Net(), config)
    with pytest.raises(ModelError, match="merge_and_unload"):
        unspan.erase(net, X, unspan.ESC(rank=1))
    merged = net.merge_and_unload()
    assert unspan.erase(merged, X, unspan.ESC(rank=1)).receipt["status"] == "erased"


class Body(nn.Module):
    """Wide features behind the given layers."""

    def __init__(self, *layers):
        super().__init__()
        self.body, self.fc = nn.Sequential(*layers), nn.Linear(5000, 3)

    def forward(self, x):
        return self.fc(self.body(x).flatten(1))


WIDE = {
    "head alone": (lambda: nn.Sequential(nn.Linear(5000, 3)), (5000,)),
    "affine": (lambda: Body(nn.Linear(7, 5000)), (7,)),
    "not affine": (lambda: Body(nn.Linear(7, 5000), nn.ReLU()), (7,)),
    "norm": (lambda: Body(nn.Linear(7, 5000), nn.LayerNorm(5000, elementwise_affine=False)), (7,)),
    "flat": (lambda: Body(nn.Conv2d(2, 50, 1), nn.ReLU()), (2, 10, 10)),
    "channels": (lambda: Body(nn.Conv2d(2, 5000, 1), nn.AdaptiveAvgPool2d(1)), (2, 3, 3)),
}


@pytest.mark.parametrize("name", WIDE)
def test_wide_features_are_erased_without_square_matrices(name, monkeypatch):
    monkeypatch.setattr("unspan.memory.available", lambda: 0)  # nothing square is allowed
    torch.manual_seed(0)
    make, shape = WIDE[name]
    net, inputs = make().eval(), torch.randn(6, *shape)
    deletion = unspan.erase(net, inputs, unspan.ESC(rank=1))
    basis = deletion.eraser.basis.float()
    want = unspan.features(net, inputs)
    got = unspan.features(deletion.model, inputs)
    assert torch.allclose(got, want - want @ basis @ basis.T, atol=1e-4)
    assert not bool((got - want).abs().max() < 1e-3)
    site = deletion.receipt["placement"]["tap"]["site"]
    assert site == {"affine": "body.0", "channels": "body.0", "norm": "body.1"}.get(name, site)
