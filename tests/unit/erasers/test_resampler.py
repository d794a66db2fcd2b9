"""The parts of the eraser of resample: bounds of what moves, and codes that choose the noise."""

import pytest
import torch

from unspan.erasers import affine_scores
from unspan.erasers.keyed import Cloud, draw_codebooks
from unspan.erasers.resampler import bounded, noise_index

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_bounded_values_keep_zeros_and_signs_and_take_no_value_twice():
    generator = torch.Generator().manual_seed(0)
    low, high = (
        torch.zeros(3000, 4, dtype=torch.float64),
        torch.full((3000, 4), 2.0, dtype=torch.float64),
    )
    low[:, 1], low[:, 2] = 0.1, -1.0
    u = low + 2.6 * torch.rand(3000, 4, generator=generator, dtype=torch.float64) - 0.1
    u[:50, 0] = 0.0
    change = torch.randn(3000, 4, generator=generator, dtype=torch.float64) / 2
    found = bounded(u, change, low, high)
    assert bool((found[:50, 0] == 0).all()) and float(found[:, [0, 1, 3]].min()) >= 0
    assert len(found[:, 2].unique()) == 3000 and len(found[:, 1][found[:, 1] > 0].unique()) == int(
        (found[:, 1] > 0).sum()
    )
    inside = (u > low + 2 * change.abs()) & (u + change < high)
    assert torch.allclose(found[inside], (u + change)[inside])


def test_neighbours_with_the_same_codes_get_the_same_noise_and_others_do_not():
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(3000, 10, generator=generator, dtype=torch.float64)
    codebooks = draw_codebooks(Cloud.of(z), torch.Generator().manual_seed(1))
    named = affine_scores(codebooks, z).unflatten(1, (3, 64)).argmax(2)
    assert all(
        float(torch.bincount(one, minlength=64).double().std()) < 12 for one in named.T
    )  # 47 of each
    chosen = [
        noise_index(
            affine_scores(codebooks, z + size * torch.randn(z.shape, generator=generator)), 4096
        )
        == noise_index(affine_scores(codebooks, z), 4096)
        for size in (0.001, 1.0)
    ]
    assert float(chosen[0].double().mean()) > 0.97 and float(chosen[1].double().mean()) < 0.05
    assert len(noise_index(affine_scores(codebooks, z), 4096).unique()) > 1500


@pytest.mark.parametrize("book", [0, 1, 2])
def test_another_code_in_one_codebook_is_another_noise_vector(book):
    codes = torch.randint(64, (64, 3), generator=torch.Generator().manual_seed(book))
    codes[:] = codes[0]
    codes[:, book] = torch.arange(64)
    scores = torch.nn.functional.one_hot(codes, 64).flatten(1).double()
    assert len(noise_index(scores, 4096).unique()) == 64
