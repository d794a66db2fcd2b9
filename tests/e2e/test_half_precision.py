"""Erasers in half precision: what they hold, what they take and return, and autocast."""

import copy

import pytest
import torch

from unspan.erasers import Chain, LinearMap, LogitMarginEraser, Projection, Resampler

HALF = (torch.float16, torch.bfloat16)
DIM = 48


def made(*size, scale=1.0):
    return torch.randn(*size, generator=GENERATOR, dtype=torch.float64) * scale


GENERATOR = torch.Generator().manual_seed(0)
EYE = torch.eye(DIM, dtype=torch.float64)
PROJECTION = Projection(EYE[:, :3])
MAP = LinearMap(made(DIM, DIM, scale=100.0), offset=made(DIM, scale=1e4))
MARGINS = LogitMarginEraser(
    forgotten=made(1, DIM + 1),
    others=made(5, DIM + 1),
    assignment=made(5, DIM + 1, scale=1e5),
    class_features=made(5, DIM),
    base=made(DIM),
)
RESAMPLER = Resampler(
    forgotten=made(1, DIM + 1),
    others=made(9, DIM + 1),
    assignment=made(9, DIM + 1, scale=1e5),
    codebooks=made(3 * 64, DIM + 1, scale=1e6),
    noise=made(50, DIM),
    maps=EYE[None],
    offsets=made(9, DIM),
    knots=torch.linspace(-3, 3, 21, dtype=torch.float64).expand(DIM, -1).contiguous(),
    quantiles=made(9, DIM, 21).sort(dim=2).values,
    covariance_correction=EYE[None] * 1e5,
    shifts=made(9, DIM),
)
ERASERS = {
    "projection": PROJECTION,
    "map": MAP,
    "logit-margin": MARGINS,
    "resampler": RESAMPLER,
    "chain": Chain(PROJECTION, RESAMPLER),
}


@pytest.fixture
def z():
    return torch.randn(40, DIM, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("eraser", ERASERS.values(), ids=ERASERS)
@pytest.mark.parametrize("dtype", [*HALF, torch.float32, torch.float64], ids=str)
def test_an_eraser_takes_any_dtype_and_returns_it(eraser, dtype, z):
    before = z.to(dtype)
    for one in (eraser, copy.deepcopy(eraser).to(dtype)):
        out = one(before)
        assert out.dtype == dtype and out.shape == z.shape
        assert all(bool(buffer.isfinite().all()) for buffer in one.buffers())
        assert all(buffer.dtype not in HALF for buffer in one.buffers())


@pytest.mark.parametrize("eraser", ERASERS.values(), ids=ERASERS)
def test_a_cast_changes_no_map(eraser, z):
    single = copy.deepcopy(eraser).float()
    for dtype in HALF:
        assert torch.equal(copy.deepcopy(single).to(dtype)(z), single(z))


@pytest.mark.parametrize("eraser", ERASERS.values(), ids=ERASERS)
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_autocast_does_not_reach_into_an_eraser(eraser, dtype, z):
    """Its scores leave the range of float16, and bfloat16 would choose other draws."""
    single = copy.deepcopy(eraser).float()
    with torch.autocast("cpu", dtype):
        assert torch.equal(single(z), copy.deepcopy(single).to(dtype)(z))
        inside = single(z)
    assert torch.equal(inside, single(z))
