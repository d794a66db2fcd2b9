"""Second moments are exact, spans are those of a float64 SVD, and impossible ranks are refused with
the numbers.
"""

import math

import numpy as np
import pytest
import torch
from feature_rows import draw, gapped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from released import released

from unspan.erasers import LinearMap, Projection, compose, linalg
from unspan.erasers.linalg import (
    Moments,
    choose_rank,
    rank_from_percent,
    sin_theta,
    spectrum,
    union,
)
from unspan.errors import DataError, ResourceError, UsageError
from unspan.methods import ESC, ESCT, LEACE, FitContext, Resample

quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
seeds = st.integers(0, 2**31)


def moments(z, size=None):
    out = Moments(z.shape[1])
    for part in z.split(size or max(len(z), 1)):
        out.update(part)
    return out


def same(a, b):
    return (
        torch.equal(a.second(), b.second())
        and torch.equal(a.mean(), b.mean())
        and a.count == b.count
    )


def context(z, size=64):
    """What a method sees of the forget data."""
    return FitContext.from_tensors(z, batch_size=size)


# ---- moments -------------------------------------------------------------------------------------


@quick
@given(
    seed=seeds, n=st.integers(1, 600), d=st.integers(1, 24), spread=st.sampled_from([0.0, 1.0, 6.0])
)
def test_moments_do_not_depend_on_batch_size_or_order(seed, n, d, spread):
    z = draw(seed, n, d) * torch.exp(spread * draw(seed + 1, n, 1))
    whole = moments(z)
    for size in (1, 7, 32, 64, 100, n):
        assert same(moments(z, size), whole), size
    shuffled = z[torch.randperm(n, generator=torch.Generator().manual_seed(seed))]
    assert same(moments(shuffled, 32), whole)


@quick
@given(
    seed=seeds,
    n=st.integers(1, 300),
    d=st.integers(1, 16),
    ranks=st.integers(1, 5),
    size=st.integers(1, 64),
)
def test_moments_do_not_depend_on_the_split_over_processes(seed, n, d, ranks, size):
    z = draw(seed, n, d) * torch.exp(4 * draw(seed + 1, n, 1))
    total = Moments(d)
    for rank in reversed(range(ranks)):  # also processes without a sample
        total.merge(moments(z[rank::ranks], size).state())
    assert same(total, moments(z))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_moments_are_those_of_the_rows(dtype):
    z = draw(3, 200, 9).to(dtype)
    exact = z.double()
    close = {"rtol": 1e-5, "atol": 1e-5 * float((exact.mT @ exact).max())}
    torch.testing.assert_close(moments(z).second(), exact.mT @ exact, **close)
    torch.testing.assert_close(moments(z).mean(), exact.mean(0), rtol=1e-5, atol=1e-6)


def test_merging_leaves_the_given_state_alone():
    part = moments(draw(0, 50, 4))
    before = part.second()
    total = Moments(4)
    total.merge(part.state())
    total.merge(part.state())
    assert torch.equal(part.second(), before)
    assert torch.equal(total.second(), 2 * before)


def test_rows_of_very_different_size_stay_exact():
    small, large = draw(0, 40, 6) * 1e-20, draw(1, 40, 6) * 1e12
    small[:, 3:], large[:, :3] = 0, 0
    z = torch.cat([small, large])
    found = moments(z)
    assert same(moments(z.flip(0), 7), found)
    both = found.second()
    for rows, part in ((small, both[:3, :3]), (large, both[3:, 3:])):
        exact = (rows.double().mT @ rows.double())[rows.double().sum(0) != 0][
            :, rows.double().sum(0) != 0
        ]
        torch.testing.assert_close(part, exact, rtol=1e-5, atol=1e-5 * float(exact.max()))
    spans = spectrum(found)
    assert spans.rank == 3
    oracle = torch.from_numpy(np.linalg.svd(large.double().numpy().T)[0][:, :3])
    assert sin_theta(spans.basis[:, :3], oracle) <= 1e-5


@pytest.mark.parametrize("scale", [1e-44, 1e-36, 1e-20, 1.0, 1e12, 1e14])
def test_scaling_all_rows_scales_the_moments(scale):
    z = (draw(5, 30, 4).double() * scale).float()
    exact = z.double().mT @ z.double()
    got = moments(z).second()
    assert torch.isfinite(got).all()
    torch.testing.assert_close(got / exact.max(), exact / exact.max(), rtol=0, atol=1e-5)


def test_zero_rows_count_but_add_nothing():
    z = draw(0, 10, 3)
    padded = torch.cat([z, torch.zeros(10, 3)])
    assert torch.equal(moments(padded).second(), moments(z).second())
    assert moments(padded).count == 20
    torch.testing.assert_close(moments(padded).mean() * 2, moments(z).mean())


# ---- spectrum ------------------------------------------------------------------------------------


@quick
@given(seed=seeds, n=st.integers(1, 80), d=st.integers(2, 40), k=st.integers(1, 6))
def test_spectrum_is_that_of_a_float64_svd(seed, n, d, k):
    z = gapped(seed, n, d)
    k = min(k, n, d - 1)
    found = spectrum(moments(z.float(), 16))
    left, sigma, _ = np.linalg.svd(z.float().double().numpy().T, full_matrices=False)
    np.testing.assert_allclose(found.sigma[:k].numpy(), sigma[:k], rtol=1e-5)
    assert sin_theta(found.basis[:, :k], torch.from_numpy(left[:, :k].copy())) <= 1e-5
    assert torch.allclose(
        found.basis.mT @ found.basis, torch.eye(d, dtype=torch.float64), atol=1e-12
    )
    assert (found.sigma.diff() <= 0).all()
    assert (found.basis.gather(0, found.basis.abs().argmax(0, keepdim=True)) > 0).all()


@quick
@given(seed=seeds, n=st.integers(1, 60), d=st.integers(2, 40), r=st.integers(1, 8))
def test_rank_counts_independent_directions(seed, n, d, r):
    z = draw(seed, n, min(r, n, d), dtype=torch.float64) @ draw(
        seed + 1, min(r, n, d), d, dtype=torch.float64
    )
    z = z.float()
    sigma = np.linalg.svd(z.double().numpy(), compute_uv=False)
    ratio = sigma / sigma[0]
    if ((ratio > 3e-6) & (ratio < 3e-4)).any():  # too close to the tolerance to say
        return
    assert spectrum(moments(z)).rank == int((ratio > linalg.RANK_TOLERANCE).sum())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_change_the_spectrum_and_are_put_back(threads):
    z = draw(0, 200, 96)
    reference = spectrum(moments(z))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = spectrum(moments(z))
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found.basis, reference.basis)


def test_spectrum_needs_rows_that_are_not_all_zero():
    with pytest.raises(DataError, match="empty"):
        spectrum(Moments(3))
    with pytest.raises(DataError, match="zero"):
        spectrum(moments(torch.zeros(5, 3)))


# ---- projections ---------------------------------------------------------------------------------


@quick
@given(
    seed=seeds,
    n=st.integers(1, 60),
    d=st.integers(2, 32),
    r=st.integers(1, 32),
    k=st.integers(1, 12),
)
def test_projection_is_an_orthogonal_projection(seed, n, d, r, k):
    r = min(r, n, d)
    z = draw(seed, n, r, dtype=torch.float64) @ draw(seed + 1, r, d, dtype=torch.float64)
    found = spectrum(moments(z))
    k = min(k, found.rank, d - 1)
    for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-6)):
        eraser = Projection(found.basis[:, :k].to(dtype))
        p, u = eraser.matrix(), eraser.basis
        if dtype == torch.float64:
            assert (p @ p - p).abs().max() <= limit
            assert (p - p.mT).abs().max() <= limit
            assert int(torch.linalg.matrix_rank(p, atol=1e-6)) == d - k
        rows = torch.cat([z, draw(seed + 2, 20, d, dtype=torch.float64)]).to(dtype)
        kept = eraser(rows)
        assert ((kept @ u).norm(dim=1) <= limit * rows.norm(dim=1)).all()
        torch.testing.assert_close(
            kept, rows @ p.mT, rtol=0, atol=10 * limit * float(rows.abs().max()) * d
        )


def test_layouts_hold_the_same_map():
    basis = torch.linalg.qr(draw(0, 6, 2, dtype=torch.float64))[0]
    dense = LinearMap(draw(1, 6, 6, dtype=torch.float64))
    for eraser in (Projection(basis), dense):
        maps = draw(2, 3, 6, 4, 5, dtype=torch.float64)
        state = next(iter(eraser.buffers()))
        want = torch.einsum("ij,njhw->nihw", eraser.matrix(), maps)
        torch.testing.assert_close(type(eraser)(state, "channels")(maps), want)
        torch.testing.assert_close(eraser(maps.movedim(1, -1)), want.movedim(1, -1))
        flat = draw(3, 4, 2, 3, dtype=torch.float64)
        want = (flat.flatten(1) @ eraser.matrix().mT).view_as(flat)
        torch.testing.assert_close(type(eraser)(state, "flat")(flat), want)


@quick
@given(seed=seeds, d=st.integers(6, 40), ranks=st.lists(st.integers(1, 3), min_size=1, max_size=3))
def test_union_has_no_order_and_is_idempotent(seed, d, ranks):
    bases = [
        torch.linalg.qr(draw(seed + i, d, k, dtype=torch.float64))[0] for i, k in enumerate(ranks)
    ]
    both = union(bases)
    k = both.shape[1]
    assert k == min(d, sum(ranks)) or k <= d
    assert torch.allclose(both.mT @ both, torch.eye(k, dtype=torch.float64), atol=1e-12)
    assert sin_theta(both, union(reversed(bases))) <= 1e-8
    assert sin_theta(both, union([both, *bases])) <= 1e-8
    for basis in bases:
        assert (basis - both @ (both.mT @ basis)).abs().max() <= 1e-8
    assert int(np.linalg.matrix_rank(torch.cat(bases, 1).numpy(), tol=1e-6)) == k


def test_compose_unites_projections_and_multiplies_other_maps():
    a = Projection(torch.eye(4, dtype=torch.float64)[:, :1])
    b = Projection(torch.eye(4, dtype=torch.float64)[:, 1:2])
    assert compose(None, a) is a
    assert torch.allclose(compose(a, b).matrix(), torch.diag(torch.tensor([0.0, 0, 1, 1])).double())
    m = LinearMap(draw(0, 4, 4, dtype=torch.float64))
    torch.testing.assert_close(compose(a, m).matrix(), m.matrix() @ a.matrix())
    torch.testing.assert_close(compose(m, a).matrix(), a.matrix() @ m.matrix())


def test_sin_theta_is_an_angle():
    line = torch.tensor([[1.0], [0.0]])
    angle = torch.tensor([[math.cos(1e-4)], [math.sin(1e-4)]], dtype=torch.float64)
    assert sin_theta(line, -line) == 0
    assert sin_theta(line, angle) == pytest.approx(math.sin(1e-4), rel=1e-6)
    assert sin_theta(torch.eye(3)[:, :1], torch.eye(3)[:, :2]) == 1


# ---- ranks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("d", "p", "k"),
    [
        (96, 1.5, 1),
        (512, 1.5, 7),
        (768, 1.5, 11),
        (64, 1.5625, 1),
        (1000, 0.3, 3),
        (1000, 0.7, 7),
        (1000, 57, 570),
        (100, 29, 29),
        (64, 99, 63),
    ],
)
def test_percent_is_floored_exactly(d, p, k):
    assert rank_from_percent(d, p) == k


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0, "k would be 0"),
        (1.5, "1.5625"),
        (100, "all 64"),
        (-1, "not a percentage"),
        (101, "not a percentage"),
        (float("nan"), "not a percentage"),
        (float("inf"), "not a percentage"),
        ("2", "not a percentage"),
    ],
)
def test_impossible_percentages_are_refused(p, text):
    with pytest.raises(UsageError, match=text):
        rank_from_percent(64, p)
    if isinstance(p, (int, float)):
        with pytest.raises(UsageError, match=text):
            ESC(p=p).check(64)


@pytest.mark.parametrize("d", [2, 3, 7, 64, 96, 512, 768, 2048])
def test_the_percentage_a_message_names_works(d):
    with pytest.raises(UsageError) as caught:
        rank_from_percent(d, 0)
    named = float(str(caught.value).split("p must be >= ")[1].split(" ")[0])
    assert rank_from_percent(d, named) == 1


@pytest.mark.parametrize(("d", "k"), [(2, 1), (7, 1), (66, 1), (67, 1), (134, 2), (768, 11)])
def test_without_a_setting_at_least_one_direction_is_removed(d, k):
    assert ESC().rank_for(d) == k
    found = spectrum(moments(draw(0, d + 20, d)))
    assert choose_rank(found, p=None, rank=None, energy=None) == k


def test_without_a_setting_the_only_direction_is_not_removed():
    with pytest.raises(UsageError, match="d=1"):
        ESC().check(1)


@pytest.mark.parametrize("rank", [0, -1, 64, 65, 1.0, True])
def test_impossible_ranks_are_refused(rank):
    with pytest.raises(UsageError, match="1 <= rank <= 63"):
        choose_rank(spectrum(moments(draw(0, 80, 64))), p=None, rank=rank, energy=None)


@pytest.mark.parametrize("energy", [0, 1, -0.5, 2, float("nan")])
def test_impossible_energies_are_refused(energy):
    with pytest.raises(UsageError, match="energy"):
        choose_rank(spectrum(moments(draw(0, 80, 8))), p=None, rank=None, energy=energy)


def test_energy_takes_the_fewest_directions():
    z = torch.diag(torch.tensor([3.0, 2.0, 1.0, 1.0]))  # squared: 9, 4, 1, 1 of 15
    found = spectrum(moments(z))
    for energy, k in ((0.5, 1), (0.6, 1), (0.61, 2), (0.86, 2), (0.88, 3)):
        assert choose_rank(found, p=None, rank=None, energy=energy) == k, energy
    with pytest.raises(UsageError, match="all 4 directions"):
        choose_rank(found, p=None, rank=None, energy=0.99)


def test_a_hundred_copies_span_one_direction():
    z = draw(0, 1, 64).expand(100, 64)
    found = spectrum(moments(z))
    assert found.rank == 1
    with pytest.raises(DataError, match=r"the rank is 1 \(100 samples\)"):
        choose_rank(found, p=None, rank=2, energy=None)
    assert choose_rank(found, p=None, rank=1, energy=None) == 1


@pytest.mark.parametrize("n", [1, 2, 5])
def test_more_directions_than_samples_is_an_error_with_the_rank(n):
    with pytest.raises(DataError, match=f"the rank is {n} "):
        ESC(rank=n + 1).fit(context(draw(0, n, 32)))
    assert ESC(rank=n).fit(context(draw(0, n, 32))).eraser.basis.shape == (32, n)


# ---- wide features -------------------------------------------------------------------------------


def wide(z, parts):
    out = Moments(z.shape[1], keep_rows=True)
    for part in parts:
        out.update(z[part])
    return out


def test_rows_that_are_kept_give_the_spectrum_of_their_moments():
    z = draw(0, 9, 30) * torch.logspace(-1, 2, 9)[:, None]
    kept, full = spectrum(wide(z, [range(9)])), spectrum(moments(z))
    assert kept.basis.shape == (30, 9) and len(kept.sigma) == 30
    assert torch.allclose(kept.sigma[:9], full.sigma[:9], rtol=1e-7)
    assert torch.equal(kept.mean, full.mean) and kept.rank == full.rank
    assert sin_theta(kept.basis[:, :4], full.basis[:, :4]) < 1e-9


def test_kept_rows_do_not_depend_on_order_batches_or_processes():
    z = draw(1, 12, 40) * torch.logspace(-2, 2, 12)[:, None]
    one, two, three = (
        wide(z, [range(12)]),
        wide(z, [[5], [0, 11], [*range(1, 5), *range(6, 11)]]),
        (wide(z, [range(7)])),
    )
    three.merge(wide(z, [range(7, 12)]).state())
    for other in (two, three):
        assert torch.equal(spectrum(one).basis, spectrum(other).basis)
        assert torch.equal(one.second(), other.second())


def test_from_d_rows_on_the_products_are_kept_exactly():
    z = draw(2, 25, 8)
    kept = wide(z, [range(6), range(6, 9), range(9, 25)])
    assert kept.rows() is None and same(kept, moments(z))
    late = wide(z, [range(5)])
    late.merge(moments(z[5:]).state())
    assert late.rows() is None and same(late, moments(z))


def test_adaptive_reading_bounds_wide_features_the_same_way():
    z = gapped(3, 40, 60, dtype=torch.float32)
    halves = [wide(z, [range(20)]), wide(z, [range(20, 40)])]
    full = [moments(z[:20]), moments(z[20:])]
    method = ESC(rank=2, adaptive=True)
    assert method._bound(tuple(halves), 80) == pytest.approx(method._bound(tuple(full), 80), 1e-6)


def test_work_that_cannot_fit_is_refused_with_the_figure(monkeypatch):
    monkeypatch.setattr("unspan.system.memory.available", lambda: 2**30)
    as_released = released("esc").ReleasedESC(rank=1)
    for method in (LEACE(), Resample(), ESCT(), as_released):
        method.check(512)
        with pytest.raises(ResourceError, match=r"about \d+\.\d GiB for 20000 features, and 1\.0"):
            method.check(20000)
    ESC(rank=1).check(20000)
    Resample(statistics="head").check(20000)
