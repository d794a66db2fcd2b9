"""LEACE is the published closed form."""

import pytest
import torch
from small_network import stacked

import unspan
from unspan.methods import leace

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_leace_is_the_published_eraser_and_leaves_no_linear_trace(case):
    concept_erasure = pytest.importorskip("concept_erasure")
    net, request, data = case
    x, y = stacked(data)
    z = unspan.features(net, x).double()
    forget = y == 2
    parts = [
        (int(mask.sum()), z[mask].mean(0), z[mask].mT.cov(correction=0))
        for mask in (forget, ~forget)
    ]
    matrix, offset, before = leace.eraser(leace.Pooled.of(*parts))
    oracle = concept_erasure.LeaceFitter.fit(
        z, forget.double()[:, None], shrinkage=False, constrain_cov_trace=False, svd_tol=1e-12
    ).eraser
    got, want = z @ matrix.mT + offset, oracle(z)
    assert torch.allclose(got, want, atol=1e-8)
    from unspan.metrics.guardedness import affine

    assert affine(z, forget)[2] == pytest.approx(before, rel=1e-6) and before > 0.2
    gap = got[forget].mean(0) - got[~forget].mean(0)
    assert float(gap.abs().max()) < 1e-10
    done = unspan.erase(net, request, leace.LEACE(), check_labels=False, measure=False)
    assert torch.allclose(unspan.features(done.model, x).double(), got, atol=1e-4)
    folded = unspan.erase(
        net, request, leace.LEACE(), form="folded", check_labels=False, measure=False
    )
    assert torch.allclose(folded.model(x), done.model(x), atol=1e-4) and torch.equal(
        unspan.features(folded.model, x), unspan.features(net, x)
    )
