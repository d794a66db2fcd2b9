"""LiRA against the likelihood written out, and what must not change it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, spearmanr

from unspan.errors import DataError
from unspan.metrics.lira import (
    OWN_VARIANCE,
    lira_ratios,
    lira_scores,
    log_probability,
    scaled_logits,
)
from unspan.metrics.score import auc_reading


def test_scaled_logits_are_those_of_the_probability():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.arange(50) % 5
    p = logits.softmax(1).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(scaled_logits(logits, labels), (p / (1 - p)).log())
    assert torch.allclose(scaled_logits(logits + 7, labels), scaled_logits(logits, labels))


def test_a_certain_model_stays_finite():
    logits = torch.tensor([[1000.0, 0.0, 0.0]])
    assert scaled_logits(logits, torch.tensor([0])).isfinite().all()
    assert scaled_logits(logits, torch.tensor([1])).isfinite().all()


def test_the_probability_comes_back_from_the_scaled_logit():
    logits = torch.randn(50, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.arange(50) % 5
    wanted = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]
    assert torch.allclose(log_probability(scaled_logits(logits, labels)), wanted)


@pytest.mark.parametrize("models", [1, 2, 5])
def test_samples_are_ordered_as_by_the_likelihood_written_out(models):
    generator = torch.Generator().manual_seed(models)
    audited = torch.randn(80, generator=generator, dtype=torch.float64)
    references = torch.randn(models, 80, generator=generator, dtype=torch.float64)
    found = lira_scores(audited, references)
    deviation = 1.0 if models == 1 else float(references.var(0).mean()) ** 0.5
    wanted = [
        norm.cdf(float(audited[i]), float(references[:, i].mean()), deviation) for i in range(80)
    ]
    assert spearmanr(found, wanted).statistic == pytest.approx(1.0)


def test_equal_references_do_not_divide_by_zero():
    same = torch.zeros(3, 4)
    assert lira_scores(torch.ones(4), same).isfinite().all()


def test_what_does_not_fit_is_refused():
    for pair in ((torch.zeros(3), torch.zeros(3)), (torch.zeros(3), torch.zeros(0, 3))):
        with pytest.raises(DataError, match="m >= 1"):
            lira_scores(*pair)
    with pytest.raises(DataError, match="finite"):
        lira_scores(torch.full((3,), torch.nan), torch.zeros(1, 3))


# ---- online --------------------------------------------------------------------------------------


def written_out(audited, models, saw, own_variance):
    """Algorithm 1 of Carlini et al., sample by sample with NumPy and SciPy."""
    kinds = {True: [], False: []}
    for i in range(models.shape[1]):
        for kind, found in kinds.items():
            found.append(models[saw[:, i] == kind, i])
    pooled = {}
    for kind, found in kinds.items():
        squares = sum(((one - one.mean()) ** 2).sum() for one in found)
        freedom = sum(len(one) - 1 for one in found)
        pooled[kind] = squares / freedom if freedom and squares else None
    ratios = []
    for i in range(models.shape[1]):
        deviations = {}
        for kind, found in kinds.items():
            deviations[kind] = pooled[kind]
            if len(found[i]) >= own_variance:
                deviations[kind] = found[i].var(ddof=1)
        either = deviations[True] or deviations[False] or 1.0
        logs = [
            norm.logpdf(audited[i], kinds[kind][i].mean(), (deviations[kind] or either) ** 0.5)
            for kind in (True, False)
        ]
        ratios.append(logs[0] - logs[1])
    return np.array(ratios)


def drawn(seed, models, n=30):
    """Audited scaled logits, those of other models, and which model saw which sample."""
    rng = np.random.default_rng(seed)
    saw = rng.random((models, n)) < 0.5
    saw[0], saw[1] = True, False
    return rng.normal(size=n), rng.normal(size=(models, n)) + saw, saw


def tensors(*parts):
    return [torch.from_numpy(part) for part in parts]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3, 6, 200]))
def test_ratios_are_those_of_the_paper_written_out(seed, models):
    audited, others, saw = drawn(seed, models)
    found = lira_ratios(*tensors(audited, others, saw))
    np.testing.assert_allclose(found, written_out(audited, others, saw, OWN_VARIANCE), atol=1e-9)


def test_who_saw_and_who_did_not_can_be_exchanged():
    audited, others, saw = drawn(3, 8)
    found = lira_ratios(*tensors(audited, others, saw))
    assert torch.allclose(found, -lira_ratios(*tensors(audited, others, ~saw)))
    order = torch.randperm(8)
    again = lira_ratios(torch.from_numpy(audited), *(one[order] for one in tensors(others, saw)))
    assert torch.allclose(found, again)


def test_models_that_all_say_the_same_give_finite_ratios():
    saw = torch.tensor([[True] * 4, [True] * 4, [False] * 4, [False] * 4])
    same = torch.zeros(4, 4)
    assert lira_ratios(torch.ones(4), same, saw).tolist() == [0.0] * 4
    certain = torch.where(saw, 40.0, -40.0)
    found = lira_ratios(torch.full((4,), 39.0), certain.double(), saw)
    assert found.isfinite().all() and (found > 0).all()


def test_the_ratio_tells_more_where_every_sample_has_both_kinds():
    """Samples that are sure either way: their own level, seen and unseen, has to be known."""
    rng = torch.Generator().manual_seed(0)
    n = 400
    hard = 3 * torch.randn(n, generator=rng)
    gain = 2 * torch.rand(n, generator=rng)
    saw = torch.zeros(6, n, dtype=torch.bool)
    saw[:3, : n // 2] = True
    saw[3:, n // 2 :] = True
    models = hard + gain * saw + torch.randn(6, n, generator=rng) * 0.5
    member = torch.arange(n) < n // 2
    audited = hard + gain * member + torch.randn(n, generator=rng) * 0.5
    ratio = lira_ratios(audited, models, saw)
    offline = torch.empty(n, dtype=torch.float64)
    for mask, rows in ((member, slice(3, 6)), (~member, slice(0, 3))):
        offline[mask] = lira_scores(audited[mask], models[rows][:, mask])
    areas = [auc_reading("", one[member], one[~member]).value for one in (ratio, offline)]
    assert areas[0] > areas[1] + 0.02 and areas[1] > 0.7


def test_online_refuses_what_it_cannot_judge():
    audited, models, saw = tensors(*drawn(0, 4))
    with pytest.raises(DataError, match="among the models"):
        lira_ratios(models[2], models, saw)
    lacking = saw.clone()
    lacking[:, 5] = True
    with pytest.raises(DataError, match="1 samples lack"):
        lira_ratios(audited, models, lacking)
    with pytest.raises(DataError, match="mask"):
        lira_ratios(audited, models, saw[:2])
    with pytest.raises(DataError, match="finite"):
        lira_ratios(audited * torch.inf, models, saw)
