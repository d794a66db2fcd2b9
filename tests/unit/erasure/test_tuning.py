"""Choosing settings: what a trial is judged by, and what is refused."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from unspan.data.request import Request
from unspan.erasers import LinearMap
from unspan.erasure.tuning import Rule, tune
from unspan.errors import UsageError
from unspan.methods import EraserMethod, Finetune
from unspan.methods.base import Fit, FitContext

CLASSES, DIM = 4, 6


def network():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(DIM, DIM), nn.ReLU(), nn.Linear(DIM, CLASSES))
    return net.eval()


def samples(net, classes, n=200):
    """Inputs that the network gives these classes, so that it is right about all of them."""
    x = 3 * torch.randn(20 * n, DIM, generator=torch.Generator().manual_seed(1))
    y = net(x).argmax(1)
    rows = torch.isin(y, torch.tensor(classes)).nonzero()[:n, 0]
    return TensorDataset(x[rows], y[rows])


@dataclass(frozen=True, kw_only=True)
class Scaling(EraserMethod):
    """Multiplies the features: keeps every order of the classes, or turns it round."""

    factor: float = 1.0
    name: ClassVar[str] = "scaling"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})
    search: ClassVar[dict[str, tuple[Any, ...]]] = {"factor": (1.0, -1.0, 0.5)}

    def fit(self, context: FitContext) -> Fit:
        return Fit(LinearMap(self.factor * torch.eye(DIM).double()))


def request(net, **more):
    asked = int(net(torch.zeros(1, DIM)).argmax())
    return Request(forget=samples(net, [asked]), kind="class", classes=(asked,), **more)


def test_without_retained_data_the_order_of_the_other_classes_decides():
    net = network()
    _, trials = tune(net, request(net), Scaling, 3, check_labels=False)
    by_factor = {trial.settings["factor"]: trial for trial in trials}
    assert {trial.rule for trial in trials} == {Rule.FORGET_ONLY.value}
    assert by_factor[1.0].kept == 1 and by_factor[1.0].forget == 1 and by_factor[1.0].score == 0
    assert by_factor[-1.0].kept < 1, "another class is the best beside the asked one"


def test_with_retained_data_the_accuracy_on_them_decides():
    net = network()
    plain = request(net)
    others = samples(net, [one for one in range(CLASSES) if one not in plain.classes])
    _, trials = tune(net, replace(plain, retain=others), Scaling, 1, check_labels=False)
    assert (trials[0].rule, trials[0].kept) == ("both", 1)


def test_what_cannot_be_tuned_is_refused():
    net = network()
    with pytest.raises(UsageError, match="finetune needs data to keep"):
        tune(net, request(net), Finetune, 1)
    with pytest.raises(UsageError, match="names no class"):
        tune(net, replace(request(net), classes=()), Scaling, 1)
    with pytest.raises(UsageError, match="single samples"):
        tune(net, replace(request(net), kind="samples", classes=()), Scaling, 1)
