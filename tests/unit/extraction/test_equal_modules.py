"""What two models share runs once, and either model still gives its own outputs to the bit."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.extraction import EqualModules
from unspan.extraction.equal_modules import equal_modules
from unspan.zoo import DigitsCNN


class Residual(nn.Module):
    """Adds, writes in place and calls one module twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 6)
        self.relu = nn.ReLU(inplace=True)
        self.block = nn.Sequential(nn.Linear(6, 6), nn.ReLU(inplace=True))
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        x = x + self.block(x)
        x = self.block(x) - x
        return self.head(self.relu(x))


def both(first, second, x):
    together = EqualModules([first, second])
    with torch.no_grad(), together.one_batch():
        return first(x), second(x)


@pytest.mark.parametrize("changed", ["first", "block.0", "head"])
def test_outputs_are_those_of_the_models_alone(changed):
    torch.manual_seed(0)
    first = Residual().eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.get_submodule(changed).weight += 1
    x = torch.randn(5, 6)
    with torch.no_grad():
        want = first(x.clone()), second(x.clone())
    got = both(first, second, x)
    assert torch.equal(got[0], want[0]) and torch.equal(got[1], want[1])
    assert not torch.equal(got[0], got[1])
    assert all("forward" not in vars(one) for model in (first, second) for one in model.modules())


def test_modules_before_an_eraser_run_once():
    torch.manual_seed(0)
    model = DigitsCNN().eval()
    x = torch.rand(8, 1, 8, 8)
    data = TensorDataset(x, torch.zeros(8, dtype=torch.long))
    erased = unspan.erase(model, data, unspan.ESC(rank=1), form="projected", check_labels=False)
    with torch.no_grad():
        want = erased.model(x)
    common = equal_modules(model, erased.model)
    assert {"conv1", "conv2", "relu1"} <= set(common) and "head" not in common
    together = EqualModules([model, erased.model])
    ran = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad(), together.one_batch():
        patch.setattr(nn.Conv2d, "_conv_forward", _noting(ran, nn.Conv2d._conv_forward))
        model(x)
        got = erased.model(x)
    assert len(ran) == 2 and torch.equal(got, want)


def _noting(ran, plain):
    def forward(self, *args):
        ran.append(self)
        return plain(self, *args)

    return forward


def test_a_hook_inside_an_equal_module_still_sees_its_call():
    torch.manual_seed(0)
    first = Residual().eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        second.head.weight[0, 0] += 1
    seen = []
    second.block[0].register_forward_hook(lambda _m, _a, out: seen.append(out))
    both(first, second, torch.randn(5, 6))
    assert len(seen) == 2


class Scaled(nn.Module):
    """Depends on an attribute that is no parameter."""

    def __init__(self, factor):
        super().__init__()
        self.inner, self.factor = nn.Linear(3, 3), factor

    def forward(self, x):
        return self.factor * self.inner(x)


def test_modules_that_differ_in_a_plain_attribute_are_not_equal():
    one = nn.Sequential(Scaled(1.0), nn.Linear(3, 2)).eval()
    other = copy.deepcopy(one)
    assert equal_modules(one, other) == ["", "0", "0.inner", "1"]
    other[0].factor = 2.0
    assert equal_modules(one, other) == ["0.inner", "1"]
    x = torch.randn(4, 3)
    with torch.no_grad():
        want = other(x)
    assert torch.equal(both(one, other, x)[1], want)


def test_models_without_a_common_weight_share_nothing():
    assert equal_modules(Residual(), Residual()) == []


def test_other_inputs_are_computed():
    torch.manual_seed(0)
    first = Residual().eval()
    second = copy.deepcopy(first)
    x, y = torch.randn(5, 6), torch.randn(5, 6)
    together = EqualModules([first, second])
    with torch.no_grad():
        want = second(y.clone())
        with together.one_batch():
            first(x)
            got = second(y)
    assert torch.equal(got, want)
