"""ESC on features: what is removed, what is reported, and how far is read."""

import pytest
import torch
from feature_rows import draw, gapped
from released import released

from unspan.erasers.linalg import sin_theta
from unspan.errors import UsageError
from unspan.methods import ESC, FitContext


def context(z, size=64):
    """What a method sees of the forget data."""
    return FitContext.from_tensors(z, batch_size=size)


def test_equal_singular_values_are_a_warning():
    fit = ESC(rank=1).fit(context(torch.eye(4)))
    assert any("equal singular values" in line for line in fit.warnings)
    fit = ESC(rank=1).fit(context(torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0]))))
    assert not any("equal singular values" in line for line in fit.warnings)


def test_a_shared_mean_direction_is_a_warning():
    assert any(
        "nearly the mean" in line
        for line in ESC(rank=1).fit(context(draw(0, 200, 16) * 0.1 + 5)).warnings
    )
    assert not any(
        "nearly the mean" in line for line in ESC(rank=1).fit(context(draw(0, 200, 16))).warnings
    )


@pytest.mark.parametrize("batch", [1, 7, 64, 1000])
def test_a_fit_is_bitwise_the_same_for_every_batch_size(batch):
    z = draw(0, 150, 24)
    assert torch.equal(
        ESC(rank=3).fit(context(z, batch)).eraser.basis, ESC(rank=3).fit(context(z)).eraser.basis
    )


def test_a_fit_reports_what_it_removed():
    z = torch.diag(torch.tensor([3.0, 2.0, 1.0, 1.0]))
    report = ESC(rank=2).fit(context(z)).report
    assert report["rank"] == 2
    assert report["energy_removed"] == pytest.approx(13 / 15)
    assert report["singular_values"] == pytest.approx([3, 2, 1])
    assert report["gap"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_adaptive_reading_stays_within_its_tolerance(seed):
    z = gapped(seed, 4000, 16, base=0.3, dtype=torch.float32)
    z = z[torch.randperm(len(z), generator=torch.Generator().manual_seed(seed))]
    given = context(z)
    fit = ESC(rank=2, adaptive=True, tolerance=0.2).fit(given)
    full = ESC(rank=2).fit(context(z))
    assert given.forget.samples_read < len(z)
    assert sin_theta(fit.eraser.basis, full.eraser.basis) <= 0.2


def test_released_code_keeps_only_the_forget_span():
    z = draw(0, 10, 32)
    as_released = released("esc").ReleasedESC(rank=2)
    broken, fixed = as_released.fit(context(z)), ESC(rank=2).fit(context(z))
    assert int(torch.linalg.matrix_rank(broken.eraser.matrix())) == 8
    assert int(torch.linalg.matrix_rank(fixed.eraser.matrix())) == 30
    many = draw(0, 100, 32)
    torch.testing.assert_close(
        as_released.fit(context(many)).eraser.matrix(),
        ESC(rank=2).fit(context(many)).eraser.matrix(),
        rtol=0,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    "settings",
    [{"p": 1, "rank": 1}, {"rank": 1, "energy": 0.5}, {"tolerance": 0}],
)
def test_contradictory_settings_are_refused(settings):
    with pytest.raises(UsageError):
        ESC(**settings)
