"""Samples that are NaN or infinite are named by every method that reads them."""

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import DataError, InconclusiveError
from unspan.methods import METHODS, EraserMethod, Finetune
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def spoilt(data, row, value):
    x, y = (one.clone() for one in data.tensors)
    x[row, 3] = value
    return unspan.Request.by_class(TensorDataset(x, y), 2)


def erased(net, request, method):
    """The deletion; a method for embeddings is told that the scores are some."""
    only = issubclass(method, EraserMethod) and method.embeddings_only
    where = {"feature_layer": "output"} if only else {}
    return unspan.erase(net, request, method(), measure=False, **where)


READERS = [one for one in METHODS if "retain" in one().needs and "holdout" not in one().needs]


@pytest.mark.parametrize("method", READERS, ids=lambda one: one.name)
def test_a_retained_sample_that_is_nan_is_named_by_every_method(case, method):
    net, _, data = case
    request = spoilt(data, slice(101, 239, 4), float("nan"))  # all of class 1 from there
    with pytest.raises(DataError, match=r"sample \d+.* of the .*(retain data|data to keep)"):
        erased(net, request, method)


@pytest.mark.parametrize("row", [2, 202])
@pytest.mark.parametrize("method", METHODS, ids=lambda one: one.name)
def test_a_forget_sample_that_is_infinite_is_named_by_every_method(case, method, row):
    if "holdout" in method().needs:
        pytest.skip("needs more data")
    net, _, data = case
    with pytest.raises(DataError, match=r"sample \d+.* of the .*(forget data|data to forget)"):
        erased(net, spoilt(data, row, float("inf")), method)


class Copes(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(torch.nan_to_num(x, 0.0, 0.0, 0.0))


def test_a_model_that_copes_with_missing_numbers_may_have_them(case):
    net, _, data = case
    request = spoilt(data, slice(0, 240, 3), float("nan"))
    method = Finetune(training=Training(lr=0.01, epochs=1))
    done = unspan.erase(Copes(net), request, method, measure=False)
    assert done.receipt["method"]["fit"]["samples"] == 60


def test_a_loss_that_is_no_number_before_the_first_step_does_not_blame_the_step_size(case):
    class Broken(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x) * (float("nan") if self.training else 1.0)

    net, request, _ = case
    with pytest.raises(InconclusiveError, match="before the first step") as caught:
        unspan.erase(Broken(net), request, Finetune(), measure=False)
    assert "lr" not in str(caught.value)
