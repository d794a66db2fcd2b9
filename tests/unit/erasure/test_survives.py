"""Which models can be copied and erased, and what an erased model outlives."""

import copy
import io
import pickle
import sys
import threading
import warnings
from types import ModuleType

import pytest
import torch
from torch import distributed as dist
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils.data import TensorDataset

import unspan
from unspan.erasers import LinearMap, Projection
from unspan.errors import ModelError, UsageError
from unspan.methods import LEACE
from unspan.models.copying import copied
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
    deletion = unspan.erase(net, X[:6], unspan.ESC(rank=1))
    gone = unspan.features(deletion.model, X) @ deletion.eraser.basis.float()
    assert gone.abs().max() < 1e-5
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
    monkeypatch.setattr("unspan.system.memory.available", lambda: 0)  # nothing square is allowed
    torch.manual_seed(0)
    make, shape = WIDE[name]
    net, inputs = make().eval(), torch.randn(6, *shape)
    deletion = unspan.erase(net, inputs, unspan.ESC(rank=1))
    basis = deletion.eraser.basis.float()
    want = unspan.features(net, inputs)
    got = unspan.features(deletion.model, inputs)
    assert torch.allclose(got, want - want @ basis @ basis.T, atol=1e-4)
    assert not bool((got - want).abs().max() < 1e-3)
    site = deletion.receipt["placement"]["feature_layer"]["site"]
    assert site == {"affine": "body.0", "channels": "body.0", "norm": "body.1"}.get(name, site)


class Conv(nn.Module):
    """A small CNN; a projection is a module (`relu`), or in the layer before the head."""

    def __init__(self, last):
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(2)
        self.body = nn.Sequential(nn.Linear(32, 16), *([nn.ReLU()] if last == "relu" else []))
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        return self.fc(self.body(self.pool(torch.relu(self.conv(x))).flatten(1)))


METHODS = {"resample": None, "esc": unspan.ESC(rank=1), "leace": LEACE()}


def shapes():
    """Three classes of images: bars, columns and blots."""
    generator = torch.Generator().manual_seed(0)
    x, y = 0.3 * torch.rand(180, 1, 8, 8, generator=generator), torch.arange(180) % 3
    x[y == 0, :, 2:4], x[y == 1, :, :, 2:4] = 1.0, 1.0
    x[y == 2, :, 4:, 4:] = 1.0
    return x, y


@pytest.fixture(scope="module", params=[(m, last) for m in METHODS for last in ("relu", "linear")])
def erased(request):
    method, last = request.param
    torch.manual_seed(0)
    net, (x, y) = Conv(last), shapes()
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    request_data = unspan.Request.by_class(TensorDataset(x, y), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        deletion = unspan.erase(net.eval(), request_data, METHODS[method], max_drop=None)
    moved = (unspan.features(deletion.model, x[y == 2]) - unspan.features(net, x[y == 2])).abs()
    assert moved.max() > 0.05
    return deletion, x, net


def distributed(model):
    torch.distributed.init_process_group("gloo", rank=0, world_size=1, store=dist.HashStore())
    try:
        return nn.parallel.DistributedDataParallel(model)
    finally:
        torch.distributed.destroy_process_group()


CHANGES = {
    "half": lambda m: m.half(),
    "bfloat16": lambda m: m.to(torch.bfloat16),
    "channels last": lambda m: m.to(memory_format=torch.channels_last),
    "compile": lambda m: torch.compile(m, backend="eager"),
    "deepcopy": copy.deepcopy,
    "pickle": lambda m: pickle.loads(pickle.dumps(m)),
    "torch.save": lambda m: torch.load(saved(m), weights_only=False),
    "ddp": distributed,
    "dynamic quantisation": lambda m: torch.ao.quantization.quantize_dynamic(
        m, {nn.Linear}, torch.qint8
    ),
}
ROUNDED = ("half", "bfloat16", "dynamic quantisation")


def saved(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return file


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name in CHANGES if name not in ROUNDED])
def test_the_eraser_outlives_what_owners_do_next(erased, name):
    deletion, x, _ = erased
    model = CHANGES[name](copy.deepcopy(deletion.model))
    with torch.no_grad():
        features = unspan.features(model, x), unspan.features(deletion.model, x)
        scores = model(x), deletion.model(x)
    for one, want in (features, scores):
        same = (one - want).abs().amax(1) <= 1e-3
        # a sample at a jump of the map may part on the last digits
        assert same.double().mean() >= (0.98 if name in ("channels last", "compile") else 1)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ROUNDED)
def test_the_eraser_outlives_rounding(erased, name):
    deletion, x, net = erased
    model = CHANGES[name](copy.deepcopy(deletion.model))
    given = x.to(next((p.dtype for p in model.parameters()), x.dtype))
    kept, want = shapes()[1] != 2, unspan.features(deletion.model, x)
    gap = (unspan.features(model, given).float() - want)[kept].norm(dim=1).mean()
    away = (unspan.features(net, x) - want)[~kept].norm(dim=1).mean()
    assert gap < 0.1 * away  # far nearer to the erased features than the original's are
    with torch.no_grad():
        named, before = (one.argmax(1) == 2 for one in (model(given), deletion.model(x)))
    assert abs(float(named[~kept].float().mean() - before[~kept].float().mean())) <= 0.05


def test_a_state_dict_goes_into_a_copy(erased):
    deletion, x, _ = erased
    other = copy.deepcopy(deletion.model)
    for one in (*other.parameters(), *other.buffers()):
        one.data.zero_()
    other.load_state_dict(deletion.model.state_dict())
    assert torch.equal(unspan.features(other, x), unspan.features(deletion.model, x))


def test_a_state_dict_with_an_eraser_does_not_go_into_the_original_unnoticed(erased):
    deletion, _, net = erased
    fresh = copy.deepcopy(net)
    if deletion.receipt["placement"]["kind"] == "hook":
        with pytest.raises(RuntimeError, match=r"Unexpected key.*unspan\."):
            fresh.load_state_dict(deletion.model.state_dict())
    else:
        fresh.load_state_dict(deletion.model.state_dict())


@pytest.mark.parametrize("head", [nn.Identity, lambda: nn.Linear(16, 5)])
def test_a_replaced_head_gets_erased_features(erased, head):
    deletion, x, _ = erased
    model, want = copy.deepcopy(deletion.model), unspan.features(deletion.model, x)
    model.fc = head()
    with torch.no_grad():
        assert torch.allclose(model(x), model.fc(want), atol=1e-6)


@pytest.mark.parametrize("layout", ["last", "channels", "flat"])
def test_torch_fx_traces_affine_erasers(layout):
    """As torchvision's `create_feature_extractor` does."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(8, 2))[0]
    x = torch.randn(3, 8) if layout == "last" else torch.randn(3, 8, 1, 1)
    for eraser in (Projection(basis, layout), LinearMap(torch.randn(8, 8), layout)):
        assert torch.equal(torch.fx.symbolic_trace(eraser)(x), eraser(x))
