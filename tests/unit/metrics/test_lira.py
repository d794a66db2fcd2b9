"""LiRA against the likelihood written out, and what must not change it."""

import pytest
import torch
from scipy.stats import norm, spearmanr

from unspan.errors import DataError
from unspan.metrics.lira import lira_scores, scaled_logits


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
    for given in ((torch.zeros(3), torch.zeros(3)), (torch.zeros(3), torch.zeros(0, 3))):
        with pytest.raises(DataError, match="m >= 1"):
            lira_scores(*given)
    with pytest.raises(DataError, match="finite"):
        lira_scores(torch.full((3,), torch.nan), torch.zeros(1, 3))
