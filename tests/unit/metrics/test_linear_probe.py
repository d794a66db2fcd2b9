"""The converged probe is scikit-learn's optimum, says when it is not there yet, and is not fooled
by small features.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from probe_data import planted, small
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.preprocessing import StandardScaler

from unspan.erasers.linalg import Moments
from unspan.errors import DataError, UsageError
from unspan.metrics.guardedness import affine, guardedness
from unspan.metrics.linear import fit_linear, linear_auc, linear_probe
from unspan.metrics.logistic import Problem
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import moments, stratified
from unspan.metrics.retention import published_probe

quick = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


def draw(seed, n, d, classes, gap):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (n,), generator=generator)
    mix = torch.randn(d, d, generator=generator)
    shift = 5 * torch.randn(d, generator=generator)
    return (
        torch.randn(n, d, generator=generator)
        + gap * torch.randn(classes, d, generator=generator)[labels]
    ) @ mix + shift, labels


def oracle(x, y, c, weights=None):
    z = StandardScaler().fit(x, sample_weight=weights).transform(x)
    return (
        LogisticRegression(C=c, tol=1e-10, max_iter=20000, solver="newton-cg").fit(
            z, y, sample_weight=weights
        ),
        z,
    )


def objective(weight, bias, z, y, c):
    score = z @ weight.T + bias
    score = score - score.max(1, keepdims=True)
    loss = np.log(np.exp(score).sum(1)) - score[np.arange(len(y)), y]
    return loss.mean() + (weight**2).sum() / (2 * c * len(y))


@quick
@given(
    st.integers(0, 2**31),
    st.integers(3, 6),
    st.sampled_from([0.01, 1.0, 10.0]),
    st.sampled_from([0.3, 1.0]),
)
def test_optimum_is_that_of_scikit_learn(seed, classes, c, gap):
    x, y = draw(seed, 400, 7, classes, gap)
    probe = fit_linear(x, y, classes, c=(c,), tolerance=1e-7)
    theirs, z = oracle(x.double().numpy(), y.numpy(), c)
    scale = x.double().numpy().std(0)
    ours = probe.weight.numpy() * scale
    assert probe.converged and probe.gradient <= 1e-7
    assert np.abs(ours - theirs.coef_).max() <= 2e-4 * max(1, np.abs(theirs.coef_).max())
    best = objective(theirs.coef_, theirs.intercept_, z, y.numpy(), c)
    assert abs(probe.objective - best) <= 1e-8 * best
    assert (probe.predict(x).numpy() == theirs.predict(z)).mean() >= 0.995


def test_binary_penalty_means_what_it_means_in_scikit_learn():
    x, y = draw(1, 500, 6, 2, 0.4)
    probe = fit_linear(x, y, 2, c=(0.05,), tolerance=1e-8)
    theirs, _ = oracle(x.double().numpy(), y.numpy(), 0.05)
    ours = (probe.weight[1] - probe.weight[0]).numpy() * x.double().numpy().std(0)
    assert np.abs(ours - theirs.coef_[0]).max() <= 1e-4 * np.abs(theirs.coef_).max()
    assert float(probe.bias.sum()) == pytest.approx(0, abs=1e-6)


def test_sample_weights_are_those_of_scikit_learn_and_zero_leaves_a_row_out():
    x, y = draw(2, 400, 5, 3, 0.5)
    weights = torch.rand(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights[:100] = 0
    x[:100] *= 50
    probe = fit_linear(x, y, 3, c=(1.0,), weights=weights, tolerance=1e-8)
    theirs, z = oracle(x[100:].double().numpy(), y[100:].numpy(), 1.0, weights[100:].numpy())
    assert (probe.predict(x[100:]).numpy() == theirs.predict(z)).mean() >= 0.99
    scale = (
        StandardScaler().fit(x[100:].double().numpy(), sample_weight=weights[100:].numpy()).scale_
    )
    assert (
        np.abs(probe.weight.numpy() * scale - theirs.coef_).max()
        <= 1e-3 * np.abs(theirs.coef_).max()
    )


@pytest.mark.parametrize("shift,scale", [(1e3, 1.0), (0.0, 1e-6), (1e4, 1e2)])
def test_large_means_and_small_scales_change_nothing(shift, scale):
    x, y = draw(3, 600, 6, 4, 0.5)
    plain, moved = (fit_linear(z, y, 4, c=(1.0,)) for z in (x, x * scale + shift))
    assert moved.converged
    assert (plain.predict(x) == moved.predict(x * scale + shift)).double().mean() >= 0.99


def test_constant_and_repeated_columns_and_an_absent_class_are_harmless():
    x, y = draw(4, 400, 5, 3, 0.6)
    wide = torch.cat([x, x, torch.full((400, 1), 3.7), torch.zeros(400, 1)], 1)
    probe = fit_linear(wide, y, 5, c=(1.0,))
    assert (
        probe.converged
        and torch.isfinite(probe.weight).all()
        and int(probe.predict(wide).max()) <= 2
    )


def test_separable_classes_converge_at_every_penalty():
    fit, test = planted(gap=12.0)
    for c in (0.01, 1.0, 100.0):
        probe = fit_linear(fit.features, fit.labels, 5, c=(c,))
        assert probe.converged and (probe.predict(test.features) == test.labels).all()


def test_a_fit_that_was_stopped_early_says_not_converged():
    fit, _ = planted(gap=1.0)
    assert not fit_linear(fit.features, fit.labels, 5, c=(1.0,), limit=1).converged


def test_penalty_is_the_one_with_the_lowest_validation_loss():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(300, 60, generator=generator), torch.randint(4, (300,), generator=generator)
    probe = fit_linear(x, y, 4)  # nothing to learn: the strongest penalty generalises best
    assert (
        probe.c == 0.01
        and min(probe.losses, key=probe.losses.get) == 0.01
        and set(probe.losses) == {0.01, 1.0, 100.0}
    )
    held = torch.zeros(300, dtype=torch.bool)
    held[:30] = True
    assert fit_linear(x, y, 4, validation=held).losses[0.01] != probe.losses[0.01]


def test_features_are_not_written_to_and_the_result_is_repeatable():
    fit, test = planted()
    before = fit.features.clone()
    torch.manual_seed(1)
    first = linear_probe(fit, test)
    torch.manual_seed(2)
    second = linear_probe(fit, test)
    assert (
        torch.equal(fit.features, before)
        and torch.equal(first.forget, second.forget)
        and first.detail == second.detail
    )


def test_read_only_memory_maps_are_accepted(tmp_path):
    fit, test = planted(n=300)
    np.save(tmp_path / "f.npy", fit.features.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "f.npy", mmap_mode="r"))
    same = linear_probe(
        Outputs(features=mapped, logits=None, labels=fit.labels, forget=fit.forget), test
    )
    assert torch.equal(same.forget, linear_probe(fit, test).forget)


def test_doubling_the_iterations_moves_no_accuracy():
    fit, test = planted(gap=1.5)
    assert linear_probe(fit, test, check=True).detail["moved"] <= 0.002


def test_seeds_agree_within_half_a_point():
    fit, test = planted(gap=2.0, n=3000)
    values = [linear_probe(fit, test, seed=seed).value for seed in range(5)]
    assert max(values) - min(values) <= 0.005


def test_features_scaled_down_a_hundredfold_are_read_here_and_missed_by_the_published_probe():
    plain = planted(gap=6.0, n=12000)
    hidden = [small(part, 0.01) for part in plain]
    assert published_probe(*plain).value >= 0.9
    converged, published = linear_probe(*hidden), published_probe(*hidden)
    assert converged.value >= 0.99 and converged.retain >= 0.99
    assert published.value <= 0.5 and published.detail["gradient"] > 0.1


def test_a_forget_class_shrunk_on_its_own_is_read():
    assert linear_probe(*planted(gap=6.0, shrink=0.01)).value >= 0.99


def test_permuted_labels_are_read_at_chance():
    inside = 0
    for seed in range(20):
        fit, test = planted(seed, n=600, permute=True)
        low, high = linear_auc(fit, test).interval(0.99)
        inside += low <= 0.5 <= high
        assert linear_probe(fit, test).value <= 0.6
    assert inside >= 18


def test_auc_of_a_planted_class_is_high_and_needs_no_labels():
    fit, test = planted(gap=4.0)
    blind = [
        Outputs(
            features=o.features, logits=None, labels=torch.full_like(o.labels, -1), forget=o.forget
        )
        for o in (fit, test)
    ]
    assert linear_auc(*blind).value == linear_auc(fit, test).value >= 0.98


def test_labels_may_name_more_classes_than_the_network_answers():
    x, y = draw(0, 600, 8, 5, 4.0)
    one = Outputs(features=x, logits=x[:, :3], labels=y, forget=y == 4)
    assert linear_probe(one, one).value > 0.8


def test_unlabelled_rows_are_left_out():
    fit, test = planted(gap=3.0)
    noise = Outputs(
        features=100 * torch.ones(50, 12),
        logits=None,
        labels=torch.full((50,), -1),
        forget=torch.zeros(50, dtype=torch.bool),
    )
    both = Outputs(
        **{
            k: torch.cat([getattr(fit, k), getattr(noise, k)])
            for k in ("features", "labels", "forget")
        },
        logits=None,
    )
    probe = fit_linear(both.features, both.labels, 5, c=(1.0,), tolerance=1e-8)
    plain = fit_linear(fit.features, fit.labels, 5, c=(1.0,), tolerance=1e-8)
    assert torch.allclose(probe.weight, plain.weight, rtol=1e-4, atol=1e-5)


def test_impossible_requests_are_refused():
    fit, test = planted(n=100)
    with pytest.raises(UsageError, match="two classes"):
        fit_linear(fit.features, fit.labels, 1)
    broken = fit.features.clone()
    broken[0, 0] = torch.nan
    with pytest.raises(DataError, match="not finite"):
        fit_linear(broken, fit.labels, 5)
    with pytest.raises(DataError, match="needs labels"):
        linear_probe(
            Outputs(
                features=fit.features,
                logits=None,
                labels=torch.full_like(fit.labels, -1),
                forget=fit.forget,
            ),
            test,
        )
    with pytest.raises(DataError, match="there is none"):
        linear_probe(
            fit,
            Outputs(
                features=test.features,
                logits=None,
                labels=test.labels,
                forget=torch.zeros_like(test.forget),
            ),
        )


@quick
@given(st.integers(0, 2**31), st.integers(20, 200), st.integers(10, 100))
def test_stratified_rows_keep_every_class_and_its_share(seed, n, cap):
    labels = torch.randint(-1, 4, (n,), generator=torch.Generator().manual_seed(seed))
    index = stratified(labels, cap, seed)
    full, part = (torch.bincount(y[y >= 0], minlength=4) for y in (labels, labels[index]))
    share = min(1, cap / int(full.sum()))
    assert len(index.unique()) == len(index) and (labels[index] >= 0).all()
    assert ((part - full * share).abs() <= 1).all() and (part[full > 0] >= 1).all()


@quick
@given(st.integers(0, 2**31), st.integers(2, 8))
def test_guardedness_is_the_r2_of_least_squares(seed, d):
    x, y = draw(seed, 300, d, 3, 0.5)
    assume(
        np.linalg.cond(np.corrcoef(x.double().numpy().T)) < 1e8
    )  # below 1e-5 of the largest a direction counts as noise
    test_x, test_y = draw(seed + 1, 200, d, 3, 0.5)
    fit, test = (
        Outputs(features=a, logits=None, labels=b, forget=b == 0)
        for a, b in ((x, y), (test_x, test_y))
    )
    theirs = LinearRegression().fit(x.double().numpy(), fit.forget.double().numpy())
    inside, outside = guardedness(fit, test)
    assert inside.value == pytest.approx(
        theirs.score(x.double().numpy(), fit.forget.double().numpy()), abs=1e-9
    )
    assert inside.detail["rank"] == d
    assert outside.value == pytest.approx(
        theirs.score(test_x.double().numpy(), test.forget.double().numpy()), rel=1e-6, abs=1e-6
    )


def test_guardedness_is_zero_after_the_means_are_made_equal_and_not_before():
    x, y = draw(5, 2000, 8, 2, 0.7)
    x, forget = x.double(), y == 1
    assert affine(x, forget)[2] > 0.05
    x[forget] -= x[forget].mean(0) - x[~forget].mean(0)
    assert affine(x, forget)[2] <= 1e-10


def test_guardedness_ignores_rounding_noise_of_a_removed_direction_and_tiny_units_count():
    x, y = draw(6, 1500, 6, 3, 0.5)
    moments = Moments(6)
    moments.update(x)
    u = torch.linalg.eigh(moments.second())[1][:, -1:].float()
    assert affine(x - (x @ u) @ u.mT, y == 0)[3] == 5
    scaled = x.clone()
    scaled[:, 2] *= 1e-7
    assert affine(scaled, y == 0)[2] == pytest.approx(affine(x, y == 0)[2], rel=1e-5)


def test_guardedness_needs_both_groups():
    fit, test = planted(n=100)
    with pytest.raises(DataError, match="one of the two"):
        guardedness(fit.rows(fit.forget), test)


@quick
@given(st.integers(0, 2**31), st.integers(2, 5))
def test_gradient_and_hessian_products_are_those_of_autograd(seed, classes):
    x, y = draw(seed, 60, 4, classes, 0.5)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.rand(60, generator=generator, dtype=torch.float64)
    mean, scale = moments(x, weights)
    problem, penalty = Problem(x, y, weights, classes, mean, scale), 0.03
    theta, direction = (
        torch.randn(classes, 5, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    z = torch.cat([(x.double() - mean) / scale, torch.ones(60, 1)], 1)

    def plain(t):
        losses = torch.nn.functional.cross_entropy(z @ t.mT, y, reduction="none")
        return (losses @ weights) / weights.sum() + penalty / 2 * t[:, :-1].square().sum()

    chances = torch.empty(classes, 60)
    value, gradient = problem.evaluate(theta, penalty, torch.float64, chances)
    assert value == pytest.approx(float(plain(theta)), rel=1e-10)
    point = theta.clone().requires_grad_()
    expected = torch.autograd.grad(plain(point), point)[0]
    assert torch.allclose(gradient, expected, atol=1e-10)
    assert torch.allclose(problem.evaluate(theta, penalty, torch.float32)[1], expected, atol=1e-5)
    bend = torch.autograd.functional.hvp(plain, theta, direction)[1]
    assert torch.allclose(problem.product(direction, penalty, chances), bend, atol=1e-5)


@pytest.mark.parametrize("gap,most", [(0.1, 20), (0.4, 60), (2.0, 60)])
def test_few_products_are_needed_on_correlated_features(gap, most):
    x, y = draw(8, 3000, 40, 8, gap)
    probe = fit_linear(x, y, 8, c=(10.0,))
    assert probe.gradient <= 1e-6 and probe.iterations <= most
