"""More images read more, the prototype is the nearest mean, and the draws are the same for every
model.
"""

import pytest
import torch
from probe_data import planted, small
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from sklearn.preprocessing import StandardScaler

from unspan.errors import DataError
from unspan.metrics.fewshot import (
    PROTOTYPE,
    REFIT,
    STANDARDISED,
    _draws,
    _pools,
    fewshot,
    prototypes,
    shots_to,
)
from unspan.metrics.outputs import Outputs


def curve(readings, variant):
    return [r for r in readings if r.detail["variant"] == variant]


def test_curves_rise_with_the_number_of_images():
    readings = fewshot(*planted(gap=2.5, n=2000))
    for variant in (PROTOTYPE, STANDARDISED, REFIT):
        found = curve(readings, variant)
        assert [r.detail["m"] for r in found] == [1, 5, 10, 50]
        assert (
            found[-1].value > found[0].value + 0.03
            and found[-1].value > 0.8
            and found[-1].retain > 0.8
        )
        low, high = found[0].detail["range"]
        assert low <= found[0].value <= high


def test_prototype_of_all_forget_images_is_the_nearest_centroid():
    fit, test = planted(gap=1.5, n=600)
    m = int(fit.forget.sum())
    found = {r.detail["variant"]: r for r in fewshot(fit, test, shots=(m,))}
    theirs = (
        NearestCentroid()
        .fit(fit.features.double().numpy(), fit.labels.numpy())
        .predict(test.features.double().numpy())
    )
    assert torch.equal(
        found[PROTOTYPE].forget.bool(), torch.tensor(theirs[test.forget.numpy()] == 1)
    )
    assert found[PROTOTYPE].retain == pytest.approx(
        (theirs == test.labels.numpy())[~test.forget.numpy()].mean()
    )
    assert found[PROTOTYPE].detail["range"][0] == found[PROTOTYPE].detail["range"][1]


def test_refit_is_scikit_learn_with_balanced_classes():
    fit, test = planted(gap=1.5, n=500)
    m = int(fit.forget.sum())
    reading = curve(fewshot(fit, test, shots=(m,)), REFIT)[0]
    counts = torch.bincount(fit.labels)
    weights = (len(fit) / (5 * counts[fit.labels])).numpy()
    scaler = StandardScaler().fit(fit.features.double().numpy(), sample_weight=weights)
    theirs = LogisticRegression(tol=1e-8, max_iter=5000).fit(
        scaler.transform(fit.features.double().numpy()), fit.labels.numpy(), sample_weight=weights
    )
    hit = theirs.predict(scaler.transform(test.features.double().numpy()))[test.forget.numpy()] == 1
    assert abs(reading.value - hit.mean()) <= 0.01 and reading.detail["converged"]


def test_shrinking_hides_nothing_from_the_standardised_prototype():
    pair = planted(gap=5.0, n=1500)
    plain, tiny = (
        fewshot(*pair, shots=(5,)),
        fewshot(*(small(part, 2.0**-7) for part in pair), shots=(5,)),
    )
    for a, b in zip(plain, tiny, strict=True):
        assert (
            torch.allclose(a.forget, b.forget, atol=0.25)
            and abs(a.value - b.value) <= 0.01
            and a.value >= 0.9
        )


def test_permuted_labels_read_near_chance():
    for reading in fewshot(*planted(gap=3.0, n=2500, permute=True), shots=(10, 50)):
        assert reading.value <= 0.4


def test_another_seed_reads_about_the_same_from_one_image():
    """One image is a poor sample of a class: few draws of it made the reading a matter of luck."""
    fit, test = planted(gap=2.5, n=4000)
    pools = _pools(fit)
    read = [next(prototypes(fit, test, pools, (1,), seed)).value for seed in range(8)]
    assert torch.tensor(read).std() < 0.012


def test_draws_depend_on_the_seed_only_and_are_of_forget_images():
    fit, _ = planted()
    pools = _pools(fit)
    first, again, other = (torch.stack(list(_draws(pools, 5, 20, seed))) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other) and fit.forget[first].all()
    assert all(len(row.unique()) == 5 for row in first[:, 0])
    more = torch.stack(list(_draws(pools, 50, 20, 0)))
    assert torch.equal(more[:, :, :5], first)


def test_several_forgotten_classes_each_get_a_prototype():
    fit, test = planted(gap=5.0, n=1500)
    both = [
        Outputs(
            features=o.features, logits=None, labels=o.labels, forget=o.forget | (o.labels == 3)
        )
        for o in (fit, test)
    ]
    for reading in fewshot(*both, shots=(10,)):
        assert len(reading.forget) == int(both[1].forget.sum()) and reading.value >= 0.9


def test_impossible_requests_are_refused_and_large_m_left_out():
    fit, test = planted(n=100)
    assert [r.detail["m"] for r in curve(fewshot(fit, test), PROTOTYPE)] == [
        m for m in (1, 5, 10, 50) if m <= int(fit.forget.sum())
    ]
    some = fit.forget.clone()
    some[some.nonzero()[0]] = False
    with pytest.raises(DataError, match="whole classes"):
        fewshot(Outputs(features=fit.features, logits=None, labels=fit.labels, forget=some), test)
    with pytest.raises(DataError, match="retained"):
        fewshot(fit.rows(fit.forget), test)


def test_shots_to_a_target():
    readings = curve(fewshot(*planted(gap=2.5, n=2000)), PROTOTYPE)
    assert shots_to(readings, 0.0) == 1 and shots_to(readings, 1.01) is None
    assert shots_to(readings[::-1], readings[1].value) == (
        1 if readings[0].value >= readings[1].value else 5
    )
