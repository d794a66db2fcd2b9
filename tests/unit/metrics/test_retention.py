"""KR is the published training to the last step, HM is the paper's formula on the paper's rows."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from probe_data import planted, small

from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import (
    BATCH,
    NAME,
    harmonic_mean,
    published_head,
    published_probe,
    recovery_rate,
)

# ESC (CVPR 2025), table 1: method, A(D_f), A(D_r), HM as printed. Rows of 1a (CIFAR-10), 1b
# (CIFAR-100), 1c (Tiny-ImageNet).
PRINTED = [
    ("1a Original", 98.42, 98.29, 3.11),
    ("1a Original, test", 85.90, 86.57, 24.25),
    ("1a Retrain", 0.00, 96.93, 98.44),
    ("1a LAU", 0.15, 92.84, 96.22),
    ("1a ESC", 9.46, 96.52, 93.43),
    ("1a ESC, KR", 8.53, 97.45, 94.36),
    ("1b RL", 27.45, 84.74, 78.17),
    ("1b RL, test", 19.33, 70.38, 75.17),
    ("1b ESC-T", 0.00, 91.20, 95.40),
    ("1b ESC-T, KR", 8.59, 80.46, 85.59),
    ("1c BS", 11.25, 14.52, 24.96),
    ("1c NG", 0.00, 0.56, 1.11),
]


@pytest.mark.parametrize("row,forget,retain,printed", PRINTED, ids=[row[0] for row in PRINTED])
def test_harmonic_mean_gives_the_printed_rows(row, forget, retain, printed):
    assert harmonic_mean(forget, retain) == pytest.approx(printed, abs=0.03)


@given(st.floats(0, 100), st.floats(0, 100))
def test_harmonic_mean_lies_between_zero_and_both_goals(forget, retain):
    value = harmonic_mean(forget, retain)
    assert 0 <= value <= max(100 - forget, retain) + 1e-9
    assert value <= 2 * min(100 - forget, retain) + 1e-9


def test_edges():
    assert harmonic_mean(100, 0) == 0 and harmonic_mean(0, 100) == 100
    assert recovery_rate(40, 80) == 50 and recovery_rate(40, 0) is None


def published_loop(features, labels, classes, seed, epochs):
    """The release, written with a module, autograd and torch's SGD; same first weights and
    order.
    """
    generator = torch.Generator().manual_seed(seed)
    head = torch.nn.Linear(features.shape[1], classes)
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=generator)
            * (2 / sum(head.weight.shape)) ** 0.5
        )
        head.bias.zero_()
    sgd = torch.optim.SGD(head.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(labels), generator=generator).split(BATCH):
            sgd.zero_grad()
            torch.nn.functional.cross_entropy(head(features[rows]), labels[rows]).backward()
            sgd.step()
    return head.weight.detach(), head.bias.detach()


@pytest.mark.parametrize("n", [70, 64, 5000])
def test_hand_written_steps_are_those_of_autograd_and_sgd(n):
    fit, _ = planted(n=n)
    ours, theirs = (
        f(fit.features, fit.labels, 5, 3, epochs=2) for f in (published_head, published_loop)
    )
    for a, b in zip(ours, theirs, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_first_weights_are_xavier_normal():
    weight, bias = published_head(
        torch.zeros(1, 300), torch.zeros(1, dtype=torch.int64), 100, epochs=0
    )
    assert float(weight.std()) == pytest.approx((2 / 400) ** 0.5, rel=0.02) and not bias.any()


def test_reading_holds_the_columns_of_the_tables_and_leaves_random_state_alone():
    fit, test = planted()
    state = torch.get_rng_state()
    reading = published_probe(fit, test, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert reading.attack == NAME and reading.detail["gradient"] > 0
    assert reading.detail["D_ft"] == pytest.approx(100 * reading.value) and reading.detail[
        "D_rt"
    ] == pytest.approx(100 * reading.retain)
    assert reading.detail["HM_t"] == pytest.approx(
        harmonic_mean(reading.detail["D_ft"], reading.detail["D_rt"])
    )


def test_small_features_read_low_which_is_why_it_is_no_verdict():
    pair = planted(gap=6.0, n=12000)
    large, tiny = published_probe(*pair), published_probe(*(small(part, 0.01) for part in pair))
    assert (
        large.value >= 0.9
        and tiny.value <= 0.5
        and tiny.detail["gradient"] > 5 * large.detail["gradient"]
    )


def test_unlabelled_rows_are_left_out():
    fit, test = planted(n=300)
    more = Outputs(
        features=torch.cat([fit.features, torch.ones(9, 12)]),
        logits=None,
        labels=torch.cat([fit.labels, torch.full((9,), -1)]),
        forget=torch.cat([fit.forget, torch.zeros(9, dtype=torch.bool)]),
    )
    assert torch.equal(published_probe(more, test).forget, published_probe(fit, test).forget)
