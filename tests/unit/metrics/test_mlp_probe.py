"""The MLP probe reads what no linear probe can, its control reads nothing, and its bits are the
entropy it removes.
"""

import itertools
import math

import pytest
import torch
from probe_data import planted, small
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from torch.nn.functional import cross_entropy

import unspan
from unspan.metrics import mlp
from unspan.metrics.linear import linear_probe
from unspan.metrics.mlp import fit_mlp, forward, mlp_probe
from unspan.metrics.outputs import Outputs


def ring(seed, n):
    """Class 1 surrounds class 0, class 2 lies apart: the means of 0 and 1 are equal."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n,), generator=generator)
    x = torch.randn(n, 4, generator=generator)
    x[labels == 1] *= 5 / x[labels == 1].norm(dim=1, keepdim=True)
    x[labels == 0] *= 0.3
    x[labels == 2] += 20
    return Outputs(features=x, logits=None, labels=labels, forget=labels == 0)


def test_a_ring_is_read_by_the_mlp_and_not_by_a_line():
    fit, test = ring(0, 1500), ring(1, 800)
    assert mlp_probe(fit, test).value >= 0.98
    assert linear_probe(fit, test).value <= 0.85


def test_scale_does_not_matter():
    pair = planted(gap=4.0, n=900)
    first, second = mlp_probe(*pair), mlp_probe(*(small(part, 2.0**-7) for part in pair))
    assert (
        torch.equal(first.forget, second.forget)
        and first.value >= 0.9
        and len(first.forget.unique()) <= 4
    )


def test_selectivity_is_high_for_a_planted_class_and_nil_for_permuted_labels():
    real, noise = (
        mlp_probe(*planted(gap=4.0, n=1500)),
        mlp_probe(*planted(gap=4.0, n=1500, permute=True)),
    )
    assert real.detail["selectivity"] >= 0.6 and abs(noise.detail["selectivity"]) <= 0.1
    assert noise.detail["V-information, bits"] <= 0.05 and noise.value <= 0.45


def test_information_of_a_perfect_reading_is_the_entropy_of_the_labels():
    detail = mlp_probe(*planted(gap=12.0, n=2000)).detail
    assert detail["V-information, bits"] == pytest.approx(math.log2(5), abs=0.05)


@pytest.fixture
def at_best(monkeypatch):
    """Networks are taken at their best step, not at the end."""
    read = itertools.cycle([1.0, 0.0])
    monkeypatch.setattr(mlp, "_accuracy", lambda *given: next(read))


@pytest.mark.usefixtures("at_best")
def test_networks_of_a_batch_are_those_trained_alone():
    fit, _ = planted(n=400, gap=2.0)
    both = fit_mlp(fit.features, fit.labels, 5, [7, 8])
    alone = fit_mlp(fit.features, fit.labels, 5, [7])
    a, b = both.scores(fit.features)[0], alone.scores(fit.features)[0]
    assert both.best[0] == alone.best[0] and float((a - b).abs().max()) < 1e-2


@pytest.mark.usefixtures("at_best")
def test_weights_kept_are_those_of_the_best_step(monkeypatch):
    monkeypatch.setattr(mlp, "STEPS", 300)
    monkeypatch.setattr(mlp, "BATCH", 16)
    fit, _ = planted(n=150, gap=0.5)
    long = fit_mlp(fit.features, fit.labels, 5, [0])
    assert 0 < long.best[0] < 300  # it overfits within 300 steps
    monkeypatch.setattr(mlp, "STEPS", long.best[0])
    short = fit_mlp(fit.features, fit.labels, 5, [0])
    assert all(torch.equal(a, b) for a, b in zip(long.layers, short.layers, strict=True))


@pytest.mark.usefixtures("at_best")
def test_each_network_is_kept_at_its_own_best_step(monkeypatch):
    monkeypatch.setattr(mlp, "BATCH", 16)
    fit, _ = planted(n=150, gap=0.5)
    both = fit_mlp(fit.features, fit.labels, 5, [0, 5])
    alone = fit_mlp(fit.features, fit.labels, 5, [0])
    assert both.best[0] == alone.best[0] != both.best[1]
    assert torch.allclose(both.scores(fit.features)[0], alone.scores(fit.features)[0], atol=1e-2)


def test_batched_networks_equal_plain_products():
    generator = torch.Generator().manual_seed(0)
    layers = tuple(
        torch.randn(shape, generator=generator)
        for shape in ((2, 3, 5), (2, 1, 5), (2, 5, 4), (2, 1, 4))
    )
    x = torch.randn(2, 6, 3, generator=generator)
    for s in range(2):
        plain = (x[s] @ layers[0][s] + layers[1][s]).clamp_min(0) @ layers[2][s] + layers[3][s]
        assert torch.allclose(forward(layers, x)[s], plain, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 7])
def test_the_gradient_is_that_of_autograd(classes):
    draw = [torch.Generator().manual_seed(seed) for seed in (0, 1, 2)]
    pack, layers = mlp._start(6, classes, draw)
    pack += 0.1 * torch.randn(pack.shape, generator=draw[0])
    x = torch.randn(3, 40, 6, generator=draw[1])
    labels = torch.randint(classes, (3, 40), generator=draw[2])
    slopes = mlp._parts(torch.full_like(pack, math.nan), 3, 6, classes)
    mlp._descent(layers, slopes, x, labels)
    leaves = [layer.double().requires_grad_() for layer in layers]
    scores = forward(tuple(leaves), x.double())
    loss = cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum") / 40
    squares = leaves[0].square().sum() + leaves[2].square().sum()
    (loss + mlp.DECAY / 2 * squares).backward()
    for slope, leaf in zip(slopes, leaves, strict=True):
        torch.testing.assert_close(slope.double(), leaf.grad, rtol=1e-4, atol=1e-6)


def test_cap_and_unlabelled_rows():
    fit, test = planted(n=500)
    labels = fit.labels.clone()
    labels[::5] = -1
    reading = mlp_probe(
        Outputs(features=fit.features, logits=None, labels=labels, forget=fit.forget),
        test,
        cap=200,
        seeds=1,
    )
    assert abs(reading.detail["fit rows"] - 200) <= 3


def opposite_signs(seed, n, d=64):
    """Class 1 where the first two of `d` columns have opposite signs: no line reads it."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    sign = torch.randint(2, (n, 2), generator=generator)
    x[:, :2] = 1.5 * (2 * sign - 1 + 0.3 * x[:, :2])
    labels = sign[:, 0] ^ sign[:, 1]
    return Outputs(features=x, logits=None, labels=labels, forget=labels == 1)


def of_scikit_learn(fit, test):
    """Accuracy of scikit-learn's network with its own defaults, mean of three seeds."""
    scaler = StandardScaler().fit(fit.features.numpy())
    known, asked = (scaler.transform(one.features.numpy()) for one in (fit, test))
    read = []
    for seed in range(3):
        net = MLPClassifier(random_state=seed).fit(known, fit.labels.numpy())
        read.append((net.predict(asked) == test.labels.numpy()).mean())
    return sum(read) / 3


@pytest.mark.filterwarnings("ignore")
def test_few_rows_are_read_at_least_as_well_as_by_scikit_learn():
    """With rows this few, four passes without a lower loss are too few steps to stop after."""
    fit, test = opposite_signs(0, 800), opposite_signs(1, 2000)
    read = mlp_probe(fit, test).detail["accuracy"]
    assert read >= 0.97 and read >= of_scikit_learn(fit, test)


@pytest.mark.filterwarnings("ignore")
def test_digits_after_leace_are_read_at_least_as_well_as_by_scikit_learn(digits_net, digits):
    request = unspan.Request.by_class(digits["train"], 3)
    erased = unspan.erase(digits_net, request, unspan.methods.LEACE(), measure=False).model
    fit, test = (read_at(erased, digits[split]) for split in ("train", "test"))
    hit = mlp_probe(fit, test)
    rows = test.forget.numpy()
    scaler = StandardScaler().fit(fit.features.numpy())
    net = MLPClassifier(random_state=0).fit(
        scaler.transform(fit.features.numpy()), fit.labels.numpy()
    )
    theirs = (net.predict(scaler.transform(test.features.numpy()))[rows] == 3).mean()
    assert hit.value >= theirs - 0.02


def read_at(model, data):
    """Features of a model with labels; class 3 is the forgotten one."""
    x, labels = (torch.stack([torch.as_tensor(one[part]) for one in data]) for part in (0, 1))
    with torch.no_grad():
        features = unspan.features(model, x)
    return Outputs(features=features, logits=None, labels=labels, forget=labels == 3)
