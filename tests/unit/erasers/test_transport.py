"""Optimal transport between Gaussians, and from samples to clusters by shares."""

import pytest
import torch

from unspan.erasers.linalg import root
from unspan.erasers.transport import (
    balanced_offsets,
    covariance_correction,
    gaussian_transport,
)

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_gaussian_transport_gives_the_target_covariance_and_is_the_least_movement():
    generator = torch.Generator().manual_seed(0)
    source, target = (
        one @ one.T / 5 for one in torch.randn(2, 5, 9, generator=generator, dtype=torch.float64)
    )
    found = gaussian_transport(source, target)
    assert torch.allclose(found @ source @ found.T, target, atol=1e-6) and torch.allclose(
        found, found.T, atol=1e-8
    )
    assert torch.linalg.eigvalsh(found)[0] > -1e-9

    # any other map with the same target, here by a rotation in whitened coordinates, moves more
    def cost(a):
        return float(torch.trace((a - torch.eye(5)) @ source @ (a - torch.eye(5)).T))

    for seed in range(20):
        turn = torch.linalg.qr(
            torch.randn(5, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        )[0]
        assert cost(found) <= cost(root(target, 0.5) @ turn @ root(source, -0.5)) + 1e-9


def test_transport_between_gaussians_agrees_with_an_optimal_transport_library():
    ot = pytest.importorskip("ot")
    generator = torch.Generator().manual_seed(1)
    source, target = (
        one @ one.T / 4 for one in torch.randn(2, 4, 8, generator=generator, dtype=torch.float64)
    )
    matrix, _ = ot.gaussian.bures_wasserstein_mapping(
        torch.zeros(4).double(), torch.zeros(4).double(), source, target
    )
    assert torch.allclose(gaussian_transport(source, target), matrix, atol=1e-6)


def test_the_covariance_correction_gives_the_real_covariance_and_moves_small_features_little():
    generator = torch.Generator().manual_seed(0)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    sizes = torch.tensor([1.0, 2.0, 0.01, 5.0, 1.0, 1.0], dtype=torch.float64)
    real = (
        sizes[:, None]
        * (
            turn
            @ torch.diag(torch.tensor([2.0, 1.5, 1.0, 1.0, 0.9, 1e-4], dtype=torch.float64))
            @ turn.T
        )
        * sizes
    )
    assert torch.allclose(
        covariance_correction(real, real), torch.eye(6, dtype=torch.float64), atol=1e-3
    )
    noisy = real + 0.05 * torch.diag(sizes.square())
    found = covariance_correction(noisy, real)
    assert torch.allclose(
        found @ noisy @ found.T / sizes[:, None] / sizes, real / sizes[:, None] / sizes, atol=1e-5
    )
    moved = (found - torch.eye(6)) @ noisy @ (found - torch.eye(6)).T
    assert float((moved.diagonal().sqrt() / sizes).max()) < 0.3


@pytest.mark.parametrize("seed", range(4))
def test_clusters_fill_in_proportion_to_their_shares(seed):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(3000, 7, generator=generator, dtype=torch.float64) + 3 * torch.randn(
        7, generator=generator, dtype=torch.float64
    )
    shares = torch.rand(7, generator=generator, dtype=torch.float64) + 0.1
    shares /= shares.sum()
    filled = torch.bincount(
        (scores + balanced_offsets(scores, shares)).argmax(1), minlength=7
    ) / len(scores)
    assert float((filled - shares).abs().max()) < 0.02
