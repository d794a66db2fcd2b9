"""Random labels are wrong, even, and drawn as often as asked."""

from dataclasses import replace

import pytest
import torch
from small_network import ONE, context_of

from unspan.errors import UsageError
from unspan.methods import random_labels
from unspan.training.samples import generator

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_random_labels_are_never_true_nor_forgotten_and_even_otherwise():
    y = torch.randint(6, (30_000,), generator=torch.Generator().manual_seed(1))
    drawn = random_labels.other_labels(y, 6, (2, 3), generator(0, "x"))
    assert not (drawn == y).any() and not torch.isin(drawn, torch.tensor([2, 3])).any()
    for label in range(6):
        share = torch.bincount(drawn[y == label], minlength=6).double() / (y == label).sum()
        allowed = [c for c in range(6) if c not in (2, 3, label)]
        assert torch.allclose(
            share[allowed], torch.tensor(1 / len(allowed), dtype=torch.float64), atol=0.03
        )
    retained = torch.tensor(
        [0, 1]
    )  # labels of rows that are kept are never drawn for: two classes are enough
    assert random_labels.other_labels(retained[1:], 2, (1,), generator(0)).tolist() == [0]
    with pytest.raises(UsageError, match="none left"):
        random_labels.other_labels(torch.tensor([0]), 2, (1,), generator(0))


@pytest.mark.parametrize(
    ("resample", "epochs", "batches"),
    [("never", True, True), ("epoch", False, True), ("batch", False, False)],
)
def test_random_labels_are_drawn_as_often_as_asked(case, monkeypatch, resample, epochs, batches):
    net, request, _ = case
    seen = {}

    def noted(scores, y, **_):
        seen.setdefault(len(seen), y.clone())
        return scores.sum() * 0

    context = context_of(net, request, ("forget",))
    plan = random_labels.RandomLabels(resample=resample, training=replace(ONE, batch=60)).plan(
        context
    )
    monkeypatch.setattr(random_labels, "cross_entropy", noted)
    samples = context.samples("forget")
    for epoch in (1, 2):
        (one,) = plan(epoch)
        for _ in range(2):
            one.loss(samples.take(torch.arange(60)))
    assert torch.equal(seen[0], seen[1]) == batches and torch.equal(seen[0], seen[2]) == epochs
