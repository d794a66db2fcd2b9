"""Searches by the nearest mean and the nearest sample, against scikit-learn."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from torch.nn.functional import normalize

from unspan.metrics import identification as searches
from unspan.metrics.identification import identification, nearest_means, nearest_samples
from unspan.metrics.outputs import Outputs


def people(seed, each=12, count=4, dim=8, spread=0.4):
    """Embeddings of some people, the first of whom is to be forgotten."""
    stream = torch.Generator().manual_seed(seed)
    centres = torch.randn(count, dim, generator=stream)
    y = torch.arange(count).repeat_interleave(each)
    z = centres[y] + spread * torch.randn(len(y), dim, generator=stream)
    return Outputs(features=z, logits=None, labels=y, forget=y == 0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.1, 3.0))
def test_it_is_the_nearest_centroid_of_embeddings_of_length_one(seed, spread):
    fit, test = people(seed, spread=spread), people(seed + 1, spread=spread)
    oracle = NearestCentroid().fit(normalize(fit.features).numpy(), fit.labels.numpy())
    oracle.centroids_ = normalize(torch.tensor(oracle.centroids_)).numpy()
    expected = oracle.predict(normalize(test.features).numpy()).tolist()
    assert nearest_means(fit, test).tolist() == expected


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), spread=st.floats(0.1, 3.0))
def test_the_nearest_sample_is_that_of_scikit_learn(seed, spread):
    fit, test = people(seed, spread=spread), people(seed + 1, spread=spread)
    oracle = KNeighborsClassifier(1, metric="cosine").fit(fit.features, fit.labels)
    assert nearest_samples(fit, test).tolist() == oracle.predict(test.features).tolist()


def test_who_is_scattered_is_found_by_a_sample_and_not_by_the_mean():
    """Each of his photos has a near copy, and their mean is nowhere near."""
    fit = people(5, each=40, dim=16, spread=0.2)
    stream = torch.Generator().manual_seed(0)
    z = fit.features.clone()
    z[fit.forget] = 3 * torch.randn(int(fit.forget.sum()), 16, generator=stream)
    enrolled = Outputs(features=z, logits=None, labels=fit.labels, forget=fit.forget)
    again = z + 0.05 * torch.randn(z.shape, generator=stream)
    asked = Outputs(features=again, logits=None, labels=fit.labels, forget=fit.forget)
    by_mean, by_sample = identification(enrolled, asked)
    assert by_sample.value > 0.9 > 0.7 > by_mean.value


def test_length_and_unlabelled_samples_do_not_count():
    fit = people(3)
    sizes = torch.linspace(0.1, 10, len(fit.labels))[:, None]
    longer = Outputs(
        features=fit.features * sizes, logits=None, labels=fit.labels, forget=fit.forget
    )
    assert nearest_means(longer, longer).tolist() == nearest_means(fit, fit).tolist()
    strangers = torch.full((5,), -1)
    more = Outputs(
        features=torch.cat([fit.features, 100 * torch.ones(5, 8)]),
        logits=None,
        labels=torch.cat([fit.labels, strangers]),
        forget=torch.cat([fit.forget, strangers > 0]),
    )
    assert nearest_means(more, fit).tolist() == nearest_means(fit, fit).tolist()


def test_what_is_drawn_at_random_is_found_by_chance_alone():
    fit = people(5, each=200, spread=0.1)
    assert all(one.value == 1.0 for one in identification(fit, fit))
    stream = torch.Generator().manual_seed(0)
    z = fit.features.clone()
    z[fit.forget] = torch.randn(int(fit.forget.sum()), 8, generator=stream)
    gone = Outputs(features=z, logits=None, labels=fit.labels, forget=fit.forget)
    by_mean, _ = identification(gone, gone)
    assert by_mean.value < 0.6 and by_mean.retain == 1.0


def test_nobody_is_found_where_nobody_is_enrolled():
    fit = people(1)
    nobody = Outputs(
        features=fit.features,
        logits=None,
        labels=torch.full_like(fit.labels, -1),
        forget=fit.forget,
    )
    assert nearest_means(nobody, fit).tolist() == [-1] * len(fit.labels)
    assert nearest_samples(nobody, fit).tolist() == [-1] * len(fit.labels)
    assert all(one.value == 0.0 for one in identification(nobody, fit))


def test_many_people_are_searched_in_parts(monkeypatch):
    fit, test = people(1, count=9), people(2, count=9)
    whole = nearest_means(fit, test)
    monkeypatch.setattr(searches, "_SCORES", 20)
    assert torch.equal(nearest_means(fit, test), whole)
