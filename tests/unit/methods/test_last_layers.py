"""Which layers are the last k."""

import pytest
import torch
from small_network import Deep, context_of
from torch import nn

from unspan.errors import UsageError
from unspan.methods.last_layers import above_cut

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


class Attentive(nn.Module):
    """8 inputs as two tokens; the head is registered first, one layer is never called."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)
        self.unused = nn.Linear(4, 4)
        self.first = nn.Linear(4, 4)
        self.attention = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x):
        z = self.first(x.view(-1, 2, 4))
        return self.head(self.attention(z, z, z, need_weights=False)[0].mean(1))


def stateful(net, names):
    """Those that hold weights or statistics themselves."""
    return {name for name in names if net.get_submodule(name)._parameters} - {""}


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (1, {"head"}),
        (2, {"second", "after", "head"}),
        (3, {"first", "before", "second", "after", "head"}),
        (9, {"first", "before", "second", "after", "head"}),
    ],
)
def test_linear_and_convolutions_count_and_what_lies_between_comes_along(case, k, expected):
    net = Deep()
    assert stateful(net, above_cut(context_of(net, case[1]), k)) == expected


def test_the_order_is_that_of_the_calls_and_not_of_registration(case):
    net = Attentive()
    context = context_of(net, case[1])
    assert stateful(net, above_cut(context, 1)) == {"head"}
    assert stateful(net, above_cut(context, 2)) == {"head", "attention", "attention.out_proj"}
    assert "unused" not in above_cut(context, 3)


def test_a_network_without_such_layers_is_refused(case):
    class Bilinear(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(8, 4))

        def forward(self, x):
            return x @ self.weight

    with pytest.raises(UsageError, match="neither"):
        above_cut(context_of(Bilinear(), case[1]), 1)
