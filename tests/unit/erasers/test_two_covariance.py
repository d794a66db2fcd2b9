"""The two-covariance model against Bayes' rule written out, and its estimates on drawn people."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from unspan.erasers.two_covariance import (
    People,
    log_likelihood_ratio,
    others_of_clusters,
    others_of_samples,
    people,
)


def spd(dim, seed, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    return size * (factor @ factor.mT / dim + 0.1 * torch.eye(dim, dtype=torch.float64))


def drawn(covariance, count, generator):
    factor = torch.linalg.cholesky(covariance)
    return torch.randn(count, len(factor), generator=generator, dtype=torch.float64) @ factor.mT


@pytest.mark.parametrize("samples", [1, 3, 8])
def test_the_ratio_is_that_of_the_joint_normal_of_all_samples(samples):
    """Same person: the m samples and z are jointly normal with B between any two of them."""
    dim = 4
    generator = torch.Generator().manual_seed(samples)
    between, within = spd(dim, 1), spd(dim, 2, 0.3)
    mean = torch.randn(dim, generator=generator, dtype=torch.float64)
    own = mean + drawn(between + within, samples, generator)
    z = mean + drawn(between + within, 6, generator)

    def joint(count):
        one = torch.ones(count, count, dtype=torch.float64)
        each = torch.eye(count, dtype=torch.float64)
        covariance = torch.kron(one, between) + torch.kron(each, within)
        return MultivariateNormal(mean.repeat(count), covariance)

    anybody = MultivariateNormal(mean, between + within)
    expected = torch.stack(
        [
            joint(samples + 1).log_prob(torch.cat([own, row[None]]).flatten())
            - joint(samples).log_prob(own.flatten())
            - anybody.log_prob(row)
            for row in z
        ]
    )
    everyone = People(mean, between + within, between, within, 0)
    quadratic, direction = log_likelihood_ratio(everyone, own)
    v = z - mean
    found = ((v @ quadratic) * v).sum(1) + v @ direction
    torch.testing.assert_close(found - found[0], expected - expected[0])
    assert torch.equal(quadratic, quadratic.mT)


def crowd(count, each, generator, dim=6):
    """People with known covariances: embeddings, labels, and the two matrices."""
    between, within = spd(dim, 3), spd(dim, 4, 0.2)
    means = drawn(between, count, generator)
    labels = torch.arange(count).repeat_interleave(each)
    return means[labels] + drawn(within, count * each, generator), labels, between, within


def test_both_covariances_are_found_from_many_labelled_people():
    generator = torch.Generator().manual_seed(0)
    z, labels, between, within = crowd(3000, 5, generator)
    found = people(others_of_samples(z[5:], labels[5:]), z[:5])
    assert found.known == 2999
    ridge = found.within - within
    assert float((ridge - torch.diag(ridge.diagonal())).abs().max()) < 0.02
    torch.testing.assert_close(found.between, between, atol=0.15, rtol=0.0)
    torch.testing.assert_close(found.total, between + within, atol=0.15, rtol=0.0)


def test_without_labels_the_share_within_comes_from_the_samples_of_the_person():
    generator = torch.Generator().manual_seed(1)
    z, labels, between, within = crowd(200, 40, generator)
    found = people(others_of_samples(z[40:], torch.full((len(z) - 40,), -1)), z[:40])
    assert found.known == 0
    share = float(within.trace() / (between + within).trace())
    assert float(found.within.trace() / found.total.trace()) == pytest.approx(1.3 * share, rel=0.25)


def test_a_label_of_one_sample_says_nothing_of_the_covariance_within():
    generator = torch.Generator().manual_seed(2)
    z, labels, *_ = crowd(50, 4, generator)
    alone = torch.arange(len(z) - 4) + 1000
    once = people(others_of_samples(z[4:], alone), z[:4])
    never = people(others_of_samples(z[4:], torch.full_like(alone, -1)), z[:4])
    assert once.known == 0
    torch.testing.assert_close(once.within, never.within)


def test_clusters_of_people_say_what_their_embeddings_say():
    """Every person in two clusters: moments of clusters and of samples are the same."""
    generator = torch.Generator().manual_seed(3)
    z, labels, *_ = crowd(30, 20, generator)
    halves = [z[k : k + 10] for k in range(0, len(z), 10)]
    found = others_of_clusters(
        labels[::10],
        torch.tensor([len(half) for half in halves]),
        torch.stack([half.mean(0) for half in halves]),
        torch.stack([half.mT.cov() for half in halves]),
    )
    wanted = others_of_samples(z, labels)
    assert found.known == wanted.known == 30
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.total, wanted.total)
    torch.testing.assert_close(found.within, wanted.within)


def test_the_scatter_within_people_is_the_sum_over_people():
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([7, 7, -1, 3, 9, 9, 9, -1, 7])  # of 3 there is one sample
    z = torch.randn(len(labels), 4, generator=generator, dtype=torch.float64)
    groups = [z[labels == label] for label in (7, 9)]
    scatter = sum((len(group) - 1) * group.mT.cov() for group in groups)
    found = others_of_samples(z, labels)
    assert (found.known, found.freedom) == (2, 4)
    torch.testing.assert_close(found.within, scatter / 4)
