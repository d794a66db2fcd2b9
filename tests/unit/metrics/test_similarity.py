"""CKA, Fisher ratio, class cosines and weight changes against definitions written out with
NumPy.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unspan.errors import DataError
from unspan.metrics import similarity
from unspan.metrics.similarity import class_cosine, fisher_ratio, linear_cka, weight_change


def draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hsic_cka(a, b):
    """CKA from centred kernels, the other definition."""
    a, b = (x.double().numpy() for x in (a, b))
    h = np.eye(len(a)) - 1 / len(a)
    k, m = h @ (a @ a.T) @ h, h @ (b @ b.T) @ h
    return (k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 12), st.integers(1, 12))
def test_cka_is_the_kernel_definition_and_blind_to_rotation_scale_and_shift(seed, n, d, e):
    a, b = draw(seed, n, d) + 3, draw(seed + 1, n, e)
    assert linear_cka(a, b, "s").value == pytest.approx(hsic_cka(a, b), abs=1e-9)
    turn = torch.linalg.qr(draw(seed + 2, d, d))[0]
    assert linear_cka(a, 7 * a @ turn - 2, "s").value == pytest.approx(1, abs=1e-5)


def test_cka_does_not_depend_on_the_chunk(monkeypatch):
    a, b = draw(1, 300, 6), draw(2, 300, 4)
    whole = linear_cka(a, b, "s").value
    monkeypatch.setattr(similarity, "_CHUNK", 7)
    assert linear_cka(a, b, "s").value == pytest.approx(whole, abs=1e-12)


def test_cka_keeps_precision_under_a_large_mean_and_says_when_it_has_no_base():
    a = draw(1, 500, 5).double()
    assert linear_cka(a + 1e6, a, "s").value == pytest.approx(1, abs=1e-9)
    assert linear_cka(torch.ones(9, 3), draw(1, 9, 3), "s").value is None
    with pytest.raises(DataError, match="same samples"):
        linear_cka(draw(1, 4, 2), draw(1, 5, 2), "s")


def test_fisher_ratio_is_the_definition_and_blind_to_rotation_and_scale():
    z, forget = draw(1, 90, 4), torch.arange(90) % 3 == 0
    z[forget] += 2
    f, r = z[forget].double().numpy(), z[~forget].double().numpy()
    truth = ((f.mean(0) - r.mean(0)) ** 2).sum() / (
        np.trace(np.cov(f.T, ddof=0)) + np.trace(np.cov(r.T, ddof=0))
    )
    assert fisher_ratio(z, forget, "s").value == pytest.approx(truth)
    turn = torch.linalg.qr(draw(2, 4, 4))[0]
    assert fisher_ratio(9 * z @ turn + 4, forget, "s").value == pytest.approx(truth, rel=1e-4)
    assert fisher_ratio(z, torch.arange(90) < 1, "s").value is None


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("pairwise", [False, True])
def test_class_cosines_are_the_definitions(centred, pairwise):
    a, b, labels = draw(1, 60, 5).abs(), draw(2, 60, 5).abs(), torch.arange(60) % 4 - 1
    found = class_cosine(a, labels, 4, b, centred=centred, pairwise=pairwise)
    x, y = ((z - z.mean(0)) if centred else z for z in (a.double().numpy(), b.double().numpy()))
    unit = lambda z: z / np.linalg.norm(z, axis=-1, keepdims=True)  # noqa: E731
    for i in range(3):
        for j in range(3):
            p, q = x[labels.numpy() == i], y[labels.numpy() == j]
            truth = (unit(p) @ unit(q).T).mean() if pairwise else unit(p.mean(0)) @ unit(q.mean(0))
            assert float(found[i, j]) == pytest.approx(truth, abs=1e-6)
    assert bool(found[3].isnan().all()) and bool(found[:, 3].isnan().all())


def test_original_classes_are_alike_and_erased_ones_are_not():
    """Figure 3: non-negative features share a mean; without it the classes part."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(400) % 4
    z = (1 + torch.rand(4, 30, generator=g))[labels] + 0.1 * torch.rand(400, 30, generator=g)
    u = torch.nn.functional.normalize(z.mean(0), dim=0)
    erased = z - (z @ u)[:, None] * u
    assert (
        float(class_cosine(z, labels, 4).min())
        > 0.5
        > 0.35
        > float(class_cosine(z, labels, 4, erased).abs().max())
    )


def test_weight_change_is_relative_by_tensor_and_group_and_skips_erasers():
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    after = dict(before) | {
        "2.weight": 1.5 * before["2.weight"],
        "0.unspan.basis": torch.ones(3, 1),
        "1.num_batches_tracked": torch.tensor(9),
    }
    found = {
        score.name.removeprefix("weight change: "): score
        for score in weight_change(before, after, head="2")
    }
    assert (
        found["2.weight"].value == pytest.approx(0.5)
        and found["0.weight"].value == 0 == found["other"].value
    )
    change, base = (
        0.5 * before["2.weight"].norm(),
        torch.cat([before["2.weight"].flatten(), before["2.bias"]]).norm(),
    )
    assert found["head"].value == pytest.approx(float(change / base)) and found["head"].n == 8
    assert found["2.weight"].detail["mean_absolute"] == pytest.approx(
        0.5 * float(before["2.weight"].abs().mean())
    )
    assert not any("unspan" in name or "num_batches" in name for name in found)


def test_weight_change_refuses_other_models_and_names_a_missing_base():
    before = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert weight_change(before, {"a": torch.ones(3), "b": torch.ones(2)})[0].value is None
    with pytest.raises(DataError, match="'b'"):
        weight_change(before, {"a": torch.zeros(3)})
    with pytest.raises(DataError, match="'b'"):
        weight_change(before, {"a": torch.zeros(3), "b": torch.ones(3)})
