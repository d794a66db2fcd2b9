"""One reading gives the classes that the original and the erased model name."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.erasure.predictions import predictions
from unspan.erasure.reading import pair_of
from unspan.run import Run


class Counting(nn.Module):
    """A small classifier that counts the samples it is given."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.ReLU())
        self.head = nn.Linear(16, 5)
        self.seen = 0

    def forward(self, x):
        self.seen += len(x)
        return self.head(self.body(x))


@pytest.fixture
def case():
    torch.manual_seed(0)
    model = Counting().eval()
    x = torch.randn(600, 8)
    return model, TensorDataset(x, model(x).argmax(1))


@pytest.mark.parametrize("method", [unspan.ESC(rank=2), None], ids=["esc", "resample"])
def test_one_pass_gives_what_two_passes_give(case, method):
    model, data = case
    made = unspan.erase(model, unspan.Request.by_class(data, 1), method, max_drop=None)
    pair = replace(pair_of(model, made.model), eraser=made.eraser)
    made.model.seen = 0
    one = predictions(pair, data, "test", Run(batch_size=100))
    assert made.model.seen == 100  # the first batch only
    two = predictions(replace(pair, eraser=None), data, "test", Run(batch_size=100))
    assert made.model.seen == 700
    assert torch.equal(one.before, two.before)
    assert (one.after == two.after).float().mean() > 0.98


def test_a_model_that_is_not_its_eraser_and_head_answers_itself(case):
    model, data = case
    made = unspan.erase(model, unspan.Request.by_class(data, 1), unspan.ESC(rank=2), max_drop=None)
    pair = replace(pair_of(model, made.model), eraser=made.eraser)
    with torch.no_grad():
        made.model.body[0].weight.neg_()
    two = predictions(replace(pair, eraser=None), data, "test", Run(batch_size=100))
    assert torch.equal(predictions(pair, data, "test", Run(batch_size=100)).after, two.after)
