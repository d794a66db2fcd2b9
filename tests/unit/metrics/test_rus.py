"""RUS and the unbiased CKA against the definition written out, and what they cannot see."""

import pytest
import torch

from unspan.errors import DataError
from unspan.metrics.outputs import Outputs
from unspan.metrics.rus import rus, unbiased_cka


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outputs(features, forget=30):
    mark = torch.arange(len(features)) < forget
    return Outputs(features=features, logits=None, labels=(~mark).long(), forget=mark)


def hsic(a, b):
    """The unbiased estimator of Song et al., with kernels written out."""
    n, one = len(a), torch.ones(len(a), 1, dtype=torch.float64)
    k, m = (x @ x.mT for x in (a, b))
    k.fill_diagonal_(0)
    m.fill_diagonal_(0)
    alike = (one.mT @ k @ one) * (one.mT @ m @ one) / ((n - 1) * (n - 2))
    total = (k @ m).trace() + alike - 2 / (n - 2) * (one.mT @ k @ m @ one)
    return float(total) / (n * (n - 3))


def test_it_is_the_unbiased_estimator_written_out():
    a = draw(0, 25, 6) + 4
    b = a[:, :3] + draw(1, 25, 3)
    want = hsic(a, b) / (hsic(a, a) * hsic(b, b)) ** 0.5
    assert unbiased_cka(a, b) == pytest.approx(want, abs=1e-9)


def test_independent_features_are_near_zero_also_where_there_are_few_rows():
    found = [unbiased_cka(draw(seed, 50, 512), draw(seed + 100, 50, 512)) for seed in range(5)]
    assert max(map(abs, found)) < 0.1  # the usual estimate gives 0.91


def test_shift_rotation_and_scale_change_nothing():
    model, other = draw(0, 80, 7) + 2, draw(1, 80, 7)
    other[:, :3] += model[:, :3]
    turn = torch.linalg.qr(draw(2, 7, 7))[0]
    truth = rus(outputs(model), outputs(other), "original", 0.5)
    moved = rus(outputs(3 * model @ turn + 40 * draw(3, 7)), outputs(other), "original", 0.5)
    assert moved.value == pytest.approx(truth.value, abs=1e-9) and 0 < truth.value < 1


def test_the_original_scores_nothing_and_a_retrained_model_one_against_itself():
    model = outputs(draw(0, 80, 7))
    assert rus(model, model, "original", 1.0).value == pytest.approx(0, abs=1e-9)
    assert rus(model, model, "retrained", 1.0).value == pytest.approx(1, abs=1e-9)


def test_it_cannot_see_that_a_class_is_as_separable_as_before():
    """The class mean and noise around it: nothing is hidden, and RUS is high."""
    before = draw(0, 200, 20)
    before[:60] += 10
    after = before.clone()
    after[:60] = before[:60].mean(0) + draw(1, 60, 20)
    found = rus(outputs(after, 60), outputs(before, 60), "original", 1.0)
    assert found.value > 0.9 and "reads 100.0 %" in found.note


def test_few_rows_and_constant_features_have_no_score():
    model = outputs(draw(0, 40, 5), forget=3)
    assert rus(model, model, "original", 0.2).value is None
    still = outputs(torch.ones(40, 5))
    assert rus(still, still, "original", 0.2).value is None
    with pytest.raises(DataError, match="same samples"):
        unbiased_cka(draw(0, 9, 2), draw(0, 8, 2))
