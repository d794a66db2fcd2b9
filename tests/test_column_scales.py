"""The units of the columns must not decide: features `x` and `x D`, D from 1e-6 to 1e6."""

import pytest
import torch

from unspan.methods import LEACE
from unspan.metrics.guardedness import affine

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def wide(dim, seed=0):
    """Factors from 1e-6 to 1e6, both ends among them."""
    order = torch.randperm(dim, generator=torch.Generator().manual_seed(seed))
    return (10 ** torch.linspace(-6, 6, dim, dtype=torch.float64))[order].float()


def small_signal(dim):
    """The column that knows the class is 1e-5 of the largest."""
    scale = torch.ones(dim)
    scale[0] = 1e-5
    return scale


SCALES = {"all": wide(12), "other": wide(12, 1), "signal": small_signal(12)}


@pytest.fixture
def cloud():
    """1,200 features of four classes in 12 correlated columns, the first of which knows class 0."""
    draw = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 4
    centres = 2 * torch.randn(4, 12, generator=draw)
    centres[:, 0] = torch.tensor([4.0, 0.0, 0.0, 0.0])
    mix = torch.eye(12) + 0.3 * torch.randn(12, 12, generator=draw)
    mix[:, 0], mix[0] = 0, 0
    mix[0, 0] = 1
    return centres[y] + torch.randn(1200, 12, generator=draw) @ mix, y


class Stream:
    """Features as a method reads them."""

    def __init__(self, z, y=None):
        self.z, self.y, self.dim, self.retain = z, y, z.shape[1], None

    def __iter__(self):
        for rows in torch.arange(len(self.z)).split(100):
            yield self.z[rows], None if self.y is None else self.y[rows]


def parted(z, y):
    stream = Stream(z[y == 0], y[y == 0])
    stream.retain = Stream(z[y != 0], y[y != 0])
    return stream


@pytest.mark.parametrize("name", SCALES)
def test_leace_erases_alike_in_all_units(cloud, name):
    z, y = cloud
    scale = SCALES[name]
    plain, scaled = (LEACE().fit(parted(x, y)) for x in (z, z * scale))
    assert scaled.report["r2_before"] == pytest.approx(plain.report["r2_before"], rel=1e-4)
    exact = scaled.eraser((z * scale).double())
    assert affine(exact, y == 0)[2] < 1e-16
    got = scaled.eraser.float()(z * scale)
    assert affine(got, y == 0)[2] < 1e-9
    assert torch.allclose(got / scale, plain.eraser.float()(z), atol=1e-4)
