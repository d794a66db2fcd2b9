"""ESC-T: the closed-form gradient is that of the formula, and training is the loop the docstring
describes.
"""

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from released import released
from torch.nn.functional import cross_entropy

from unspan.erasers.linalg import Moments, spectrum
from unspan.errors import DataError, InconclusiveError, UsageError
from unspan.methods import ESCT, FitContext
from unspan.methods.esc_t import mask_gradient


def context(z, labels, head, seed=0):
    """What a method sees of the forget data."""
    return FitContext.from_tensors(z, labels, head=head, seed=seed, batch_size=50)


def problem(seed=2, n=120, d=12, classes=4, shift=2.5):
    """Features of one class, which the head recognises the more the larger the shift, labels,
    float64 head.
    """
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, d, generator=generator, dtype=torch.float64)
    bias = 0.1 * torch.randn(classes, generator=generator, dtype=torch.float64)
    z = torch.randn(n, d, generator=generator) + (shift * weight[0] / weight[0].norm()).float()
    return z, torch.zeros(n, dtype=torch.long), (weight, bias)


def basis_of(z):
    found = Moments(z.shape[1])
    found.update(z)
    return spectrum(found).basis.float()


def literal(z, y, basis, mask, weight, bias, reduction, transposed):
    """Gradient of `-CE` over the samples still recognised, `A = U * M`, scores `W A Aᵀ z + b`, by
    autograd.
    """
    mask = mask.clone().requires_grad_()
    a = basis * mask
    square = a.mT @ a if transposed else a @ a.mT
    logits = z @ square.mT @ weight.mT + bias
    right = logits.argmax(1) == y
    if not bool(right.any()):
        return None
    loss = -cross_entropy(logits[right], y[right], reduction="sum") / (
        right.sum() if reduction == "correct" else len(z)
    )
    return torch.autograd.grad(loss, mask)[0]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 2**31),
    n=st.integers(1, 30),
    d=st.integers(1, 12),
    classes=st.integers(2, 6),
    reduction=st.sampled_from(["correct", "batch"]),
    transposed=st.booleans(),
)
def test_gradient_is_that_of_the_formula(seed, n, d, classes, reduction, transposed):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    z, weight, bias = normal(n, d), normal(classes, d), normal(classes)
    basis, mask = (
        torch.linalg.qr(normal(d, d))[0],
        torch.rand(d, d, generator=generator, dtype=torch.float64),
    )
    y = torch.randint(classes, (n,), generator=generator)
    gradient_of = released("esc").FirstTransposed() if transposed else mask_gradient
    got = gradient_of(z, y, basis, mask, weight, bias, reduction)
    want = literal(z, y, basis, mask, weight, bias, reduction, transposed)
    assert (got is None) == (want is None)
    if want is not None:
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12 * float(1 + want.abs().max()))


def test_reductions_differ_by_the_share_recognised():
    z, y, (weight, bias) = problem(shift=0.8)
    u = basis_of(z).double()
    both = [
        mask_gradient(z.double(), y, u, torch.ones_like(u), weight, bias, how)
        for how in ("correct", "batch")
    ]
    share = float(((z.double() @ weight.mT + bias).argmax(1) == y).double().mean())
    assert 0.2 < share < 0.8
    torch.testing.assert_close(both[0] * share, both[1])


def test_scores_that_are_not_finite_are_an_error():
    z, y, (weight, bias) = problem()
    u = basis_of(z)
    with pytest.raises(DataError, match="infinite"):
        mask_gradient(
            z * 1e30,
            torch.zeros_like(y),
            u,
            torch.ones_like(u),
            weight.float() * 1e20,
            bias.float(),
        )


def oracle(z, y, head, method, seed, first=False):
    """The loop of the docstring, by autograd in float64: soft mask and the map of the thresholded
    one.
    """
    basis = basis_of(z).double()
    weight, bias = (part.float().double() for part in head)
    z, mask = z.double(), torch.ones_like(basis)
    generator = torch.Generator().manual_seed(seed)
    epochs = 0
    for _ in range(method.epochs):
        order = torch.randperm(len(z), generator=generator)
        for start in range(0, len(z), method.batch):
            index = order[start : start + method.batch]
            gradient = literal(
                z[index], y[index], basis, mask, weight, bias, method.reduction, first
            )
            if gradient is not None:
                mask, first = mask - method.lr * gradient, False
                mask = mask.clamp(0, 1) if method.clip else mask
        epochs += 1
        a = basis * mask
        if not bool(((z @ a @ a.mT @ weight.mT + bias).argmax(1) == y).any()):
            break
    a = basis * (mask if method.tau is None else mask > method.tau)
    return mask, a @ a.mT, epochs


CASES = [
    {"lr": 0.1, "epochs": 6, "batch": 32},
    {"lr": 0.1, "epochs": 6, "batch": 32, "reduction": "batch"},
    {"lr": 0.1, "epochs": 6, "batch": 32, "released": True},
    {"lr": 0.5, "epochs": 100, "batch": 120, "tau": 0.5},
    {"lr": 0.1, "epochs": 6, "batch": 32, "tau": None},
    {"lr": 0.1, "epochs": 6, "batch": 32, "clip": False},
    {"lr": 0.1, "epochs": 6, "batch": 32, "clip": False, "tau": None},
]


@pytest.mark.parametrize("settings", CASES)
@pytest.mark.parametrize("seed", [2, 3])  # no mask entry ends near tau
def test_training_is_the_loop_of_the_docstring(settings, seed):
    z, y, head = problem(seed)
    settings = dict(settings)
    first = settings.pop("released", False)
    method = (released("esc").ReleasedESCT if first else ESCT)(**settings)
    mask, matrix, epochs = oracle(z, y, head, method, 7, first)
    fit = method.fit(context(z, y, head, seed=7))
    assert fit.report["epochs"] == epochs
    trained, _ = method._train(z, y, basis_of(z), *(part.float() for part in head), 7)
    torch.testing.assert_close(trained.double(), mask, rtol=0, atol=2e-5)
    torch.testing.assert_close(fit.eraser.matrix(), matrix, rtol=0, atol=1e-6)
    assert fit.report["mask_kept"] == pytest.approx(
        float(
            (mask > (method.tau or 0) if method.tau is not None else mask.float() != 0)
            .double()
            .mean()
        ),
        abs=1e-3,
    )


def test_settings_that_differ_give_other_maps():
    z, y, head = problem(shift=0.8)
    maps = [
        kind(lr=0.2, epochs=6, tau=0.9, reduction=how).fit(context(z, y, head)).eraser.matrix()
        for kind, how in (
            (ESCT, "correct"),
            (ESCT, "batch"),
            (released("esc").ReleasedESCT, "correct"),
        )
    ]
    assert not torch.allclose(maps[0], maps[1])
    assert not torch.allclose(maps[0], maps[2])


def test_training_stops_when_nothing_is_recognised():
    z, y, head = problem()
    report = ESCT(lr=1.0, epochs=500).fit(context(z, y, head)).report
    assert report["stopped"] == "no sample recognised"
    assert report["forget_accuracy_soft_mask"] == 0
    assert report["epochs"] < 500
    assert report["forget_accuracy_start"] > 0.5


def test_training_stops_when_the_epochs_are_used_up():
    z, y, head = problem()
    report = ESCT(lr=0.05, epochs=2, tau=0.99).fit(context(z, y, head)).report
    assert report["stopped"] == "epochs used up"
    assert report["epochs"] == 2
    assert report["forget_accuracy_soft_mask"] > 0


def test_a_mask_that_changes_nothing_is_inconclusive():
    with pytest.raises(InconclusiveError, match="no-op"):
        ESCT(lr=1e-9, epochs=1).fit(context(*problem()))


def test_a_mask_that_zeroes_everything_is_an_error():
    z, head = torch.ones(20, 1), (torch.tensor([[1.0], [-1.0]]).double(), torch.zeros(2).double())
    with pytest.raises(DataError, match="zero all features"):
        ESCT(lr=1e3, epochs=5).fit(context(z, torch.zeros(20, dtype=torch.long), head))


def test_nothing_recognised_to_begin_with_is_inconclusive():
    z, _, (weight, bias) = problem()
    never = (z.double() @ weight.mT + bias).argmin(1)
    with pytest.raises(InconclusiveError, match="already not recognised"):
        ESCT().fit(context(z, never, (weight, bias)))


def test_labels_and_a_head_are_needed():
    z, y, head = problem()
    with pytest.raises(UsageError, match="labels"):
        ESCT().fit(context(z, None, head))
    with pytest.raises(UsageError, match="head"):
        ESCT().fit(context(z, y, None))


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_signs_of_the_basis_do_not_matter(seed):
    z, y, head = problem(seed)
    weight, bias = (part.float() for part in head)
    u = basis_of(z)
    signs = torch.randint(2, (12,), generator=torch.Generator().manual_seed(seed)).float() * 2 - 1
    method = ESCT(lr=0.1, epochs=5, tau=0.9)
    one, history = method._train(z, y, u, weight, bias, 0)
    two, again = method._train(z, y, u * signs, weight, bias, 0)
    assert torch.equal(one, two)
    assert history == again
    assert (one < 1).any()


def test_the_report_measures_the_map_that_is_returned():
    z, y, (weight, bias) = problem()
    fit = ESCT(lr=0.2, epochs=30).fit(context(z, y, (weight, bias)))
    scores = z.double() @ fit.eraser.matrix().mT @ weight.mT + bias
    assert fit.report["forget_accuracy_after_threshold"] == pytest.approx(
        float((scores.argmax(1) == y).double().mean()), abs=0.01
    )
    assert fit.report["map_norm"] == pytest.approx(
        float(torch.linalg.matrix_norm(fit.eraser.matrix(), 2))
    )
    torch.testing.assert_close(fit.eraser.matrix(), fit.eraser.matrix().mT)
    assert any("not a projection" in line for line in fit.warnings) == (
        fit.report["map_norm"] > 1.05
    )


def test_a_run_repeats_bitwise_and_depends_on_its_seed():
    z, y, head = problem()
    fits = [
        ESCT(lr=0.1, epochs=3, batch=16)._train(
            z, y, basis_of(z), *(p.float() for p in head), seed
        )[0]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(fits[0], fits[1])
    assert not torch.equal(fits[0], fits[2])


@pytest.mark.parametrize(
    "bad",
    [
        {"tau": 1},
        {"tau": -0.1},
        {"tau": 1.5},
        {"lr": 0},
        {"epochs": 0},
        {"batch": 0},
        {"reduction": "mean"},
        {"lr": float("nan")},
    ],
)
def test_impossible_settings_are_refused(bad):
    with pytest.raises(UsageError):
        ESCT(**bad)
