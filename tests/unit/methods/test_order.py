"""The order of the samples decides nothing of a map in closed form."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

import unspan
from unspan.extraction import statistics
from unspan.extraction.stream import TensorFeatures
from unspan.methods import ESC, LEACE, METHODS, EraserMethod, FitContext, Redraw, Resample
from unspan.methods.resampling import reading

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
CLASSES, DIM, EACH = 5, 6, 120
ORDERS = 10
PARTS = ("forget", "retain")
NOT_CLOSED = {"esc-t"}  # descends in minibatches, whose order decides
TO_THE_BIT = {
    "esc": ESC(rank=2),
    "resample": Resample(),
    "resample, head only": Resample(statistics="head"),
    "redraw": Redraw(false_positives=0.05),
}
CLASSLESS = [name for name in TO_THE_BIT if name != "resample, head only"]


@pytest.fixture(scope="module")
def case():
    """Features of overlapping classes, their labels, and the head of nearest centres."""
    draw = torch.Generator().manual_seed(3)
    centres = 3.0 * torch.randn(CLASSES, DIM, generator=draw)
    y = torch.arange(CLASSES).repeat_interleave(EACH)
    z = centres[y] + torch.randn(len(y), DIM, generator=draw)
    return z, y, (centres.double(), -centres.double().square().sum(1) / 2)


def fitted(case, method, number, *, classes=(2,)) -> dict[str, Tensor]:
    """Tensors of the map that is fitted to the same samples in another order and other batches."""
    z, y, head = case
    draw = torch.Generator().manual_seed(number)
    parts = [(y == 2).nonzero()[:, 0], (y != 2).nonzero()[:, 0]]
    if number:
        parts = [rows[torch.randperm(len(rows), generator=draw)] for rows in parts]
    gone, kept = parts
    context = FitContext.from_tensors(
        z[gone],
        y[gone],
        retain=z[kept],
        retain_labels=y[kept],
        batch_size=int(torch.randint(5, 80, (1,), generator=draw)),
        head=head,
        classes=classes,
        key=b"the same for all",
    )
    return dict(method.fit(context).eraser.state_dict())


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_every_method_in_closed_form_is_here():
    fits = {kind.name for kind in METHODS if issubclass(kind, EraserMethod)} - NOT_CLOSED
    assert fits == {method.name for method in TO_THE_BIT.values()} | {LEACE.name}


@pytest.mark.parametrize("name", TO_THE_BIT)
def test_ten_orders_give_one_map(case, name):
    first = fitted(case, TO_THE_BIT[name], 0)
    for number in range(1, ORDERS):
        assert same(fitted(case, TO_THE_BIT[name], number), first), number


@pytest.mark.parametrize("name", CLASSLESS)
def test_so_it_is_for_samples_without_a_class(case, name):
    first = fitted(case, TO_THE_BIT[name], 0, classes=())
    for number in range(1, ORDERS):
        assert same(fitted(case, TO_THE_BIT[name], number, classes=()), first), number


@pytest.mark.parametrize("name", ["resample", "redraw"])
def test_so_it_is_where_samples_are_drawn(case, name, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_FORGET", 70)
    monkeypatch.setattr("unspan.methods.redraw._MAX_FORGET", 70)
    monkeypatch.setattr(statistics.sampling, "MAX_SAMPLES", 300)
    first = fitted(case, TO_THE_BIT[name], 0)
    for number in range(1, ORDERS):
        assert same(fitted(case, TO_THE_BIT[name], number), first), number


def test_ten_orders_give_one_file_of_statistics(case):
    z, y, head = case
    found = []
    for number in range(ORDERS):
        order = torch.randperm(len(z), generator=torch.Generator().manual_seed(number))
        stream = TensorFeatures(z[order], y[order], 5 + number)
        made = statistics.of_stream(stream, head)
        found.append({name: one for name, one in vars(made).items() if isinstance(one, Tensor)})
    assert all(same(one, found[0]) for one in found)


def test_other_samples_give_another_map(case):
    z, y, head = case
    moved = z.clone()
    moved[0, 0] += 0.01
    for name, method in TO_THE_BIT.items():
        if name not in ("esc", "resample, head only"):
            assert not same(fitted((moved, y, head), method, 0), fitted(case, method, 0)), name


def test_leace_moves_by_rounding_only(case):
    first = fitted(case, LEACE(), 0)
    for number in range(1, ORDERS):
        other = fitted(case, LEACE(), number)
        for name, tensor in first.items():
            torch.testing.assert_close(other[name], tensor, rtol=0, atol=1e-12)


def reordered(part, number):
    """The samples of a part in another order; the first is the order that they have."""
    draw = torch.Generator().manual_seed(number)
    order = torch.randperm(len(part), generator=draw) if number else torch.arange(len(part))
    return Subset(part, order.tolist())


@pytest.mark.parametrize("method", [ESC(rank=1), LEACE(), Resample()], ids=lambda one: one.name)
def test_a_model_that_is_erased_is_the_same_to_the_bit(digits_net, digits_request, method):
    found = set()
    for number in range(3):
        parts = {name: reordered(getattr(digits_request, name), number) for name in PARTS}
        request = replace(digits_request, **parts)
        done = unspan.erase(digits_net, request, method, key=b"k" * 32, measure=False)
        found.add(done.receipt["model"]["sha256_after"])
    assert len(found) == 1
