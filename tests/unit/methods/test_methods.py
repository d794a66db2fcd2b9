"""One defining property a method; `tests/mutation/mutants.py` breaks every one on purpose."""

import copy
from dataclasses import replace

import pytest
import torch
from released import released
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import find_feature_layer
from unspan.methods import (
    bad_teaching,
    boundary,
    dlfd,
    fisher,
    l1_sparse,
    lau,
    leace,
    neggrad,
    random_labels,
    salun,
    scrub,
    svd,
)
from unspan.methods.cf_k import CFk
from unspan.methods.neggrad_plus import NegGradPlus
from unspan.methods.retrain import Retrain
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext, accuracy_on
from unspan.training.loop import Training
from unspan.training.samples import generator

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
ONE = Training(lr=0.05, epochs=1, batch=32, momentum=0.0, weight_decay=0.0, batchnorm="frozen")


class Net(nn.Module):
    """8 inputs, 6 features behind a BatchNorm, 4 classes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 6)
        self.norm = nn.BatchNorm1d(6)
        self.relu = nn.ReLU()
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.relu(self.norm(self.first(x))))


@pytest.fixture
def world():
    """A trained network, and data of four classes of which 2 is to be forgotten."""
    g = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(4, 8, generator=g)
    y = torch.arange(240) % 4
    x = centres[y] + torch.randn(240, 8, generator=g)
    torch.manual_seed(0)
    net = Net()
    adam = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(60):
        adam.zero_grad()
        cross_entropy(net(x), y).backward()
        adam.step()
    return net.eval(), unspan.Request.by_class(TensorDataset(x, y), 2), TensorDataset(x, y)


def work_of(net, splits, needs=("forget", "retain", "holdout"), seed=0):
    model = copy.deepcopy(net)
    feature_layer = find_feature_layer(model, torch.randn(2, 8))[0]
    return TrainingContext(
        model=model,
        feature_layer=feature_layer,
        parts={name: getattr(splits, name) for name in needs},
        run=Run(seed=seed),
        checkpoint=Checkpoint(None, ""),
        classes=4,
        forgotten=splits.classes,
    )


def stacked(data):
    return tuple(torch.stack(list(part)) for part in zip(*data, strict=True))


# ---- descent and ascent --------------------------------------------------------------------------


def test_retrain_owes_nothing_to_the_original(world):
    net, splits, _ = world
    other = copy.deepcopy(net)
    with torch.no_grad():
        for one in other.parameters():
            one.add_(torch.randn_like(one))
        other.norm.running_mean.add_(5)
    method = Retrain(training=Training(lr=0.05, epochs=3))
    states = [
        unspan.erase(one, splits, method, check_labels=False, measure=False).model.state_dict()
        for one in (net, other)
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_neggrad_plus_takes_the_weighted_difference_of_gradients(world):
    net, splits, _ = world
    whole = replace(ONE, batch=1000, lr=0.1)
    done = unspan.erase(
        net, splits, NegGradPlus(alpha=0.7, training=whole), check_labels=False, measure=False
    )
    want = copy.deepcopy(net)
    loss = sum(
        weight * cross_entropy(want(x), y)
        for weight, (x, y) in ((0.7, stacked(splits.retain)), (-0.3, stacked(splits.forget)))
    )
    for one, grad in zip(
        want.parameters(), torch.autograd.grad(loss, list(want.parameters())), strict=True
    ):
        with torch.no_grad():
            one -= 0.1 * grad
    for one, other in zip(done.model.parameters(), want.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_neggrad_raises_the_forget_loss_and_leaves_samples_at_the_ceiling_alone(world):
    net, splits, _ = world
    x, y = stacked(splits.forget)
    done = unspan.erase(
        net,
        splits,
        neggrad.NegGrad(training=replace(ONE, lr=0.01, epochs=2)),
        check_labels=False,
        measure=False,
    )
    assert cross_entropy(done.model(x), y) > cross_entropy(net(x), y)
    scores = torch.randn(5, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(
        neggrad.ascent(scores, torch.zeros(5, dtype=torch.long), 1.0), scores
    )
    above = cross_entropy(scores, torch.zeros(5, dtype=torch.long), reduction="none") > 1.0
    assert above.any() and not above.all()
    assert (grad[above] == 0).all() and (grad[~above] != 0).any(1).all()


def test_neggrad_keeps_running_statistics_and_stops_when_nothing_is_recognised(world):
    net, splits, _ = world
    done = unspan.erase(
        net,
        splits,
        neggrad.NegGrad(training=replace(neggrad.NegGrad().training, lr=0.05, epochs=200)),
        check_labels=False,
        measure=False,
    )
    history = done.receipt["method"]["fit"]["history"]
    assert len(history) < 200 and history[-1]["forget_accuracy"] == 0 and history[-1]["stopped"]
    assert torch.equal(done.model.norm.running_mean, net.norm.running_mean)


def test_cf_k_trains_the_last_layers_only(world):
    net, splits, _ = world
    done = unspan.erase(
        net,
        splits,
        CFk(k=2, training=replace(ONE, momentum=0.9)),
        check_labels=False,
        measure=False,
    )
    changed = {
        name.split(".")[0]
        for name, tensor in done.model.state_dict().items()
        if not torch.equal(tensor, net.state_dict()[name])
    }
    assert changed == {"norm", "head"}  # the layers with weights are first, norm, head
    assert torch.equal(done.model.norm.running_mean, net.norm.running_mean)
    assert all(one.grad is None and one.requires_grad for one in done.model.parameters())


# ---- labels --------------------------------------------------------------------------------------


def test_random_labels_are_never_true_nor_forgotten_and_even_otherwise():
    y = torch.randint(6, (30_000,), generator=torch.Generator().manual_seed(1))
    drawn = random_labels.other_labels(y, 6, (2, 3), generator(0, "x"))
    assert not (drawn == y).any() and not torch.isin(drawn, torch.tensor([2, 3])).any()
    for label in range(6):
        share = torch.bincount(drawn[y == label], minlength=6).double() / (y == label).sum()
        allowed = [c for c in range(6) if c not in (2, 3, label)]
        assert torch.allclose(
            share[allowed], torch.tensor(1 / len(allowed), dtype=torch.float64), atol=0.03
        )
    retained = torch.tensor(
        [0, 1]
    )  # labels of rows that are kept are never drawn for: two classes are enough
    assert random_labels.other_labels(retained[1:], 2, (1,), generator(0)).tolist() == [0]
    with pytest.raises(UsageError, match="none left"):
        random_labels.other_labels(torch.tensor([0]), 2, (1,), generator(0))


@pytest.mark.parametrize(
    ("resample", "epochs", "batches"),
    [("never", True, True), ("epoch", False, True), ("batch", False, False)],
)
def test_random_labels_are_drawn_as_often_as_asked(world, monkeypatch, resample, epochs, batches):
    net, splits, _ = world
    seen = {}

    def noted(scores, y, **_):
        seen.setdefault(len(seen), y.clone())
        return scores.sum() * 0

    work = work_of(net, splits, ("forget",))
    plan = random_labels.RandomLabels(resample=resample, training=replace(ONE, batch=60)).plan(work)
    monkeypatch.setattr(random_labels, "cross_entropy", noted)
    samples = work.samples("forget")
    for epoch in (1, 2):
        (one,) = plan(epoch)
        for _ in range(2):
            one.loss(samples.take(torch.arange(60)))
    assert torch.equal(seen[0], seen[1]) == batches and torch.equal(seen[0], seen[2]) == epochs


# ---- noise, sparsity, masks ----------------------------------------------------------------------


def test_fisher_information_is_that_of_the_definition(world):
    net, splits, _ = world
    work = work_of(net, splits, ("retain",))
    found = fisher.fisher_information(work, torch.arange(10), None)
    want = {name: torch.zeros_like(one) for name, one in net.named_parameters()}
    for i in range(10):
        logs = net(splits.retain[i][0][None]).log_softmax(1)[0]
        for log in logs:
            for (name, _), grad in zip(
                net.named_parameters(),
                torch.autograd.grad(log, list(net.parameters()), retain_graph=True),
                strict=True,
            ):
                want[name] += log.exp().detach() * grad.square() / 10
    assert all(torch.allclose(found[name], want[name], rtol=1e-4, atol=1e-8) for name in want)


def test_fisher_noise_is_larger_where_the_information_is_small_and_resets_the_forgotten_row(world):
    net, splits, _ = world
    little, much = (
        fisher.noise_variance(torch.full((3, 4), value), 1e-3, False) for value in (0.1, 10.0)
    )
    assert (little > much).all()
    assert torch.equal(
        fisher.noise_variance(torch.zeros(2, 2), 1.0, False), torch.full((2, 2), 1e3)
    )
    assert torch.equal(
        fisher.noise_variance(torch.zeros(2, 2), 1.0, True), torch.full((2, 2), 1e3)
    )  # cap 1e2, times 10
    rows = torch.stack(
        [
            unspan.erase(
                net,
                splits,
                fisher.Fisher(alpha=1e-12),
                unspan.Run(seed=seed),
                check_labels=False,
                measure=False,
            ).model.head.weight.detach()[2]
            for seed in range(40)
        ]
    )
    assert float(rows.mean().abs()) < 0.006 and 0.028 < float(rows.std()) < 0.036  # variance 1e-3
    kept = unspan.erase(
        net, splits, fisher.Fisher(alpha=1e-12), check_labels=False, measure=False
    ).model.head.weight[[0, 1, 3]]
    assert torch.allclose(kept, net.head.weight[[0, 1, 3]], atol=1e-3)


def test_l1_penalises_weights_and_fades(world):
    net, splits, _ = world
    method = l1_sparse.L1Sparse(gamma=0.4, free=1, training=replace(ONE, epochs=5))
    assert [round(method.strength(epoch), 6) for epoch in range(1, 6)] == [0.4, 0.3, 0.2, 0.1, 0.0]
    weights = [nn.Parameter(torch.tensor([0.5, -2.0])), nn.Parameter(torch.tensor([[3.0]]))]
    assert float(l1_sparse.l1_norm(weights).detach()) == 5.5
    grads = torch.autograd.grad(l1_sparse.l1_norm(weights), weights)
    assert grads[0].tolist() == [1.0, -1.0] and grads[1].item() == 1.0
    size = lambda model: sum(float(one.abs().sum()) for one in model.parameters())  # noqa: E731
    plain, sparse = (
        unspan.erase(
            net,
            splits,
            l1_sparse.L1Sparse(gamma=gamma, training=replace(ONE, epochs=5)),
            check_labels=False,
            measure=False,
        ).model
        for gamma in (0.0, 0.2)
    )
    assert size(sparse) < 0.9 * size(plain)
    proximal = unspan.erase(
        net,
        splits,
        l1_sparse.L1Sparse(gamma=0.2, proximal=True, training=replace(ONE, epochs=5)),
        check_labels=False,
        measure=False,
    )
    assert proximal.receipt["method"]["fit"]["weights_below_1e-8"] > 0.05


def test_salun_moves_nothing_outside_its_mask_not_even_by_weight_decay(world):
    net, splits, _ = world
    method = salun.SalUn(
        rho=0.3,
        training=Training(lr=0.1, epochs=3, momentum=0.9, weight_decay=0.1, batchnorm="frozen"),
    )
    done = unspan.erase(net, splits, method, check_labels=False, measure=False)
    x, y = stacked(splits.forget)
    reference = copy.deepcopy(net)
    grads = torch.autograd.grad(
        cross_entropy(reference(x), y, reduction="sum"), list(reference.parameters())
    )
    sizes = torch.cat([grad.abs().flatten() for grad in grads])
    least = sizes.sort(descending=True).values[round(0.3 * len(sizes)) - 1]
    old, new = (
        torch.cat([one.detach().flatten() for one in model.parameters()])
        for model in (net, done.model)
    )
    inside = sizes >= least * (1 + 1e-5)
    outside = sizes < least * (1 - 1e-5)
    assert torch.equal(old[outside], new[outside]) and (old[inside] != new[inside]).all()
    assert done.receipt["method"]["fit"]["share_trained"] == pytest.approx(0.3, abs=0.01)
    dead = copy.deepcopy(net)
    with torch.no_grad():
        dead.norm.bias[:5] = -100  # little passes the ReLU, so most gradients are exactly 0
    few = unspan.erase(
        dead, splits, salun.SalUn(rho=0.5, training=ONE), check_labels=False, measure=False
    )
    assert few.receipt["method"]["fit"]["share_trained"] == pytest.approx(0.5, abs=0.01)


# ---- teachers ------------------------------------------------------------------------------------


def test_scrub_pushes_the_student_from_the_original_and_the_teacher_stays(world):
    net, splits, _ = world
    teacher, student = torch.randn(7, 4), torch.randn(7, 4)
    p, q = ((scores / 2).softmax(1).double() for scores in (teacher, student))
    assert float(scrub.divergence(teacher, student, 2.0)) == pytest.approx(
        4 * float((p * (p / q).log()).sum(1).mean()), rel=1e-5
    )
    assert float(scrub.divergence(teacher, teacher, 2.0)) == pytest.approx(0, abs=1e-6)
    done = unspan.erase(
        net,
        splits,
        scrub.Scrub(
            alpha=0.5, gamma=1.0, msteps=3, training=Training(lr=0.02, epochs=3, batchnorm="frozen")
        ),
        check_labels=False,
        measure=False,
    )
    away = [
        float(scrub.divergence(net(stacked(part)[0]), done.model(stacked(part)[0]), 4.0))
        for part in (splits.forget, splits.retain)
    ]
    assert away[0] > 5 * away[1] > 0


def test_scrub_reads_the_forget_data_in_its_first_epochs_only(world, monkeypatch):
    net, splits, _ = world
    read = []
    monkeypatch.setattr(
        scrub,
        "over",
        lambda work, samples, batch, order, loss: read.append(order) or _nothing(samples),
    )
    unspan.erase(
        net,
        splits,
        scrub.Scrub(msteps=2, training=replace(ONE, epochs=4)),
        check_labels=False,
        measure=False,
    )
    assert read == [
        ("forget", 1),
        ("retain", 1),
        ("forget", 2),
        ("retain", 2),
        ("retain", 3),
        ("retain", 4),
    ]


def _nothing(samples):
    from unspan.training.loop import Pass

    return Pass([], lambda batch: None, 0)


def test_rewinding_takes_the_epoch_nearest_to_the_held_out_error(world, monkeypatch):
    net, splits, data = world
    monkeypatch.setattr(
        scrub, "accuracy_on", lambda *_: 0.85
    )  # of the last epoch on held-out samples
    done = unspan.erase(
        net,
        replace(splits, holdout=splits.forget),
        scrub.Scrub(rewind=True, msteps=8, alpha=0.5, training=replace(ONE, lr=0.03, epochs=8)),
        check_labels=False,
        measure=False,
    )
    fit = done.receipt["method"]["fit"]
    errors = [abs(1 - row["forget_accuracy"] - fit["held_out_error"]) for row in fit["history"]]
    assert (
        errors[fit["rewound_to_epoch"] - 1] == pytest.approx(min(errors))
        and min(errors[0], errors[-1]) > min(errors) + 0.05
    )
    assert fit["held_out_error"] == pytest.approx(0.15)
    work = work_of(done.model, splits)
    assert accuracy_on(done.model, work.samples("forget")) == pytest.approx(
        fit["history"][fit["rewound_to_epoch"] - 1]["forget_accuracy"]
    )


def test_bad_teaching_gives_every_sample_its_own_teacher(world):
    net, splits, _ = world
    good, bad = copy.deepcopy(net), Net().eval()
    work = work_of(net, splits)
    batch = work.samples("forget", "retain").take(torch.tensor([0, 100, 1, 200]))
    found = bad_teaching.teachers(good, bad, batch, torch.zeros(4, 4))
    assert batch.forget.tolist() == [True, False, True, False]
    assert torch.allclose(found[::2], bad(batch.x[::2])) and torch.allclose(
        found[1::2], good(batch.x[1::2])
    )
    done = unspan.erase(
        net,
        splits,
        bad_teaching.BadTeaching(
            training=Training(lr=0.02, epochs=15, optimiser="adam", weight_decay=0.0)
        ),
        check_labels=False,
        measure=False,
    )
    sure = lambda model, part: float(model(stacked(part)[0]).softmax(1).amax(1).mean())  # noqa: E731
    assert (
        sure(done.model, splits.forget) < sure(net, splits.forget) - 0.2
        and sure(done.model, splits.retain) > 0.7
    )


def test_both_teachers_speak_at_the_temperature_of_the_student(world, monkeypatch):
    net, splits, _ = world
    seen = []
    monkeypatch.setattr(
        bad_teaching,
        "kl_div",
        lambda student, teacher, **_: seen.append((student, teacher)) or student.sum() * 0,
    )
    unspan.erase(
        net,
        splits,
        bad_teaching.BadTeaching(
            temperature=3.0, retain_share=1.0, training=replace(ONE, batch=1000)
        ),
        check_labels=False,
        measure=False,
    )
    student, teacher = seen[0]
    x, _ = (
        torch.cat(part) for part in zip(stacked(splits.forget), stacked(splits.retain), strict=True)
    )
    rows = {tuple(row.tolist()) for row in (net(x) / 3).log_softmax(1).detach().round(decimals=3)}
    assert (
        sum(tuple(row.tolist()) in rows for row in teacher.detach().round(decimals=3)) >= 180
    )  # the retained ones


def test_two_classes_are_enough_for_salun(world):
    net, _, data = world
    x, y = stacked(data)
    two = TensorDataset(x[y < 2], y[y < 2])
    splits = unspan.Request.by_class(two, 1)
    done = unspan.erase(net, splits, salun.SalUn(training=ONE), check_labels=False, measure=False)
    assert done.receipt["method"]["fit"]["forget_used"] == 60


# ---- boundaries and heads ------------------------------------------------------------------------


def test_boundary_labels_are_what_the_original_says_of_the_attacked_input_and_never_true(world):
    net, splits, _ = world
    work = work_of(net, splits, ("forget",))
    samples = work.samples("forget")
    x, y = stacked(splits.forget)
    low, high = x.amin(0), x.amax(0)
    for eps in (0.01, 0.3):
        found, crossed = boundary.nearest_labels(work, samples, eps, 16)
        point = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(cross_entropy(net(point), y, reduction="sum"), point)
        scores = net(
            (x + eps * (high.max() - low.min()) * slope.sign()).clamp(low.min(), high.max())
        )
        assert crossed == pytest.approx(float((scores.argmax(1) != y).double().mean()))
        assert (
            torch.equal(found, scores.scatter(1, y[:, None], -torch.inf).argmax(1))
            and not (found == y).any()
        )


def test_boundary_expand_gives_the_head_its_shape_back(world):
    net, splits, _ = world
    done = unspan.erase(
        net,
        splits,
        boundary.Boundary(kind="expand", training=Training(lr=0.01, epochs=20, batchnorm="frozen")),
        check_labels=False,
        measure=False,
    )
    assert (
        done.model.head.weight.shape == net.head.weight.shape and done.model.head.out_features == 4
    )
    assert accuracy_on(done.model, work_of(net, splits).samples("forget")) < accuracy_on(
        net, work_of(net, splits).samples("forget")
    )


def test_lau_changes_the_head_and_nothing_else(world):
    net, splits, _ = world
    done = unspan.erase(net, splits, lau.LAU(), check_labels=False, measure=False)
    changed = {
        name
        for name, tensor in done.model.state_dict().items()
        if not torch.equal(tensor, net.state_dict()[name])
    }
    assert changed == {"head.weight", "head.bias"}
    x, y = stacked(splits.forget)
    assert torch.equal(unspan.features(done.model, x), unspan.features(net, x))
    assert float((done.model(x).argmax(1) == y).double().mean()) < float(
        (net(x).argmax(1) == y).double().mean()
    )
    z = unspan.features(net, x)
    moved = lau.attacked(z, y, (net.head.weight.detach(), net.head.bias.detach()), 0.25, 10)
    assert float((moved - z).abs().max()) <= 0.25 + 1e-6
    assert cross_entropy(net.head(moved), y) > cross_entropy(net.head(z), y)


# ---- closed forms --------------------------------------------------------------------------------


def test_leace_is_the_published_eraser_and_leaves_no_linear_trace(world):
    concept_erasure = pytest.importorskip("concept_erasure")
    net, splits, data = world
    x, y = stacked(data)
    z = unspan.features(net, x).double()
    forget = y == 2
    parts = [
        (int(mask.sum()), z[mask].mean(0), z[mask].mT.cov(correction=0))
        for mask in (forget, ~forget)
    ]
    matrix, offset, before = leace.eraser(*parts)
    oracle = concept_erasure.LeaceFitter.fit(
        z, forget.double()[:, None], shrinkage=False, constrain_cov_trace=False, svd_tol=1e-12
    ).eraser
    got, want = z @ matrix.mT + offset, oracle(z)
    assert torch.allclose(got, want, atol=1e-8)
    from unspan.metrics.guardedness import affine

    assert affine(z, forget)[2] == pytest.approx(before, rel=1e-6) and before > 0.2
    gap = got[forget].mean(0) - got[~forget].mean(0)
    assert float(gap.abs().max()) < 1e-10
    done = unspan.erase(net, splits, leace.LEACE(), check_labels=False, measure=False)
    assert torch.allclose(unspan.features(done.model, x).double(), got, atol=1e-4)
    folded = unspan.erase(
        net, splits, leace.LEACE(), form="folded", check_labels=False, measure=False
    )
    assert torch.allclose(folded.model(x), done.model(x), atol=1e-4) and torch.equal(
        unspan.features(folded.model, x), unspan.features(net, x)
    )


def test_svd_removes_what_retained_activations_do_not_share():
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64))[0]
    own, shared = basis[:, :2], basis[:, 2:4]
    forget = own @ own.mT + shared @ shared.mT
    retain = shared @ shared.mT + basis[:, 4:] @ basis[:, 4:].mT
    keep = svd.removal(forget, retain, 1e9, 1e9)
    assert float((keep @ own).abs().max()) < 1e-6 and torch.allclose(
        keep @ basis[:, 2:], basis[:, 2:], atol=1e-6
    )
    values = torch.tensor([9.0, 1.0, 0.0], dtype=torch.float64)
    p = svd.importance(torch.diag(values), 3.0)
    r = values / 10
    assert torch.allclose(p, torch.diag(3 * r / (2 * r + 1)))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 6, 3, 2, 1),
        nn.Conv2d(4, 6, 3, groups=2, dilation=2),
        nn.Conv2d(4, 2, (1, 3), padding=(0, 1), padding_mode="circular"),
        nn.Linear(5, 3),
    ],
    ids=["stride", "groups", "circular", "linear"],
)
def test_svd_sees_what_a_layer_multiplies(layer):
    x = torch.randn(3, 4, 9, 5) if isinstance(layer, nn.Conv2d) else torch.randn(3, 7, 5)
    with torch.no_grad():
        want = layer(x)
        rows = svd.activations(layer, x)
        weights = layer.weight.flatten(1).chunk(len(rows))
        got = (
            torch.cat([part @ weight.mT for part, weight in zip(rows, weights, strict=True)], 1)
            + layer.bias
        )
        want = (
            want.flatten(2).mT.flatten(0, 1) if isinstance(layer, nn.Conv2d) else want.flatten(0, 1)
        )
        assert torch.allclose(got, want, atol=1e-5)


# ---- DLFD ----------------------------------------------------------------------------------------


def test_the_transport_term_reaches_the_perturbation_and_in_the_release_it_does_not(world):
    net, splits, _ = world
    work = work_of(net, splits, ("forget", "retain"))
    batch, forget = (work.samples(name).take(torch.arange(12)) for name in ("retain", "forget"))
    there = unspan.features(net, forget.x)
    slopes = {}
    for kind in (dlfd.DLFD, released("dlfd").ReleasedDLFD):
        moved = batch.x.clone().requires_grad_()
        gain = kind().gain(work, moved, batch.x, batch.y, there, keep=0.0)
        slopes[kind.name] = torch.autograd.grad(gain, moved, allow_unused=True)[0]
    assert float(slopes["dlfd"].abs().sum()) > 1e-3
    assert slopes["dlfd-released"] is None or float(slopes["dlfd-released"].abs().sum()) == 0


def test_transport_cost_is_the_optimal_one_and_perturbing_raises_it(world):
    import ot

    net, splits, _ = world
    here, there = torch.rand(9, 5), torch.rand(7, 5)
    cost = (
        1
        - torch.nn.functional.normalize(here, dim=1)
        @ torch.nn.functional.normalize(there, dim=1).mT
    )
    exact = ot.emd2(
        torch.full((9,), 1 / 9).numpy(), torch.full((7,), 1 / 7).numpy(), cost.double().numpy()
    )
    assert float(dlfd.transport_cost(here, there, 1e-3)) == pytest.approx(exact, rel=0.02)
    work = work_of(net, splits, ("forget", "retain"))
    batch, forget = (work.samples(name).take(torch.arange(32)) for name in ("retain", "forget"))
    low, high = boundary.value_range(work.samples("retain"), 64)
    method = dlfd.DLFD(steps=10, step=0.01, radius=0.05)
    moved = method.perturbed(work, batch, forget, 0.0, low, high)
    there = unspan.features(net, forget.x)
    apart = [
        float(dlfd.transport_cost(unspan.features(net, x), there, 0.01)) for x in (batch.x, moved.x)
    ]
    assert apart[1] > apart[0] + 0.01
    assert float(((moved.x - batch.x).abs() / (high - low)).max()) <= 0.05 + 1e-5
    assert bool((moved.x >= low - 1e-6).all() and (moved.x <= high + 1e-6).all())


def test_dlfd_returns_an_admissible_state_or_says_that_there_is_none(world):
    net, splits, data = world
    held = replace(splits, holdout=splits.forget)
    done = unspan.erase(
        net,
        held,
        dlfd.DLFD(save=1.0, steps=2, every=2, training=replace(ONE, epochs=2)),
        check_labels=False,
        measure=False,
    )
    fit = done.receipt["method"]["fit"]
    best = max(one["retain_accuracy"] for one in fit["looks"])
    assert fit["chosen"]["accuracy"] == pytest.approx(best)
    work = work_of(done.model, splits)
    assert accuracy_on(done.model, work.samples("retain")) == pytest.approx(best)
    x, y = stacked(data)
    strangers = TensorDataset(x[:60] + 30, y[:60])  # never mistaken for training data
    with pytest.raises(InconclusiveError, match="no state is admissible"):
        unspan.erase(
            net,
            replace(splits, holdout=strangers),
            dlfd.DLFD(save=0.001, steps=1, training=replace(ONE, lr=1e-9)),
            check_labels=False,
            measure=False,
        )


def test_dlfd_leaves_images_alone_once_the_score_is_low(world, monkeypatch):
    net, splits, _ = world
    moved = []
    monkeypatch.setattr(
        dlfd.DLFD, "perturbed", lambda self, work, batch, *_: moved.append(1) or batch
    )
    monkeypatch.setattr(dlfd, "forgetting_score", lambda work: 0.0)
    unspan.erase(
        net,
        replace(splits, holdout=splits.forget),
        dlfd.DLFD(every=2, training=replace(ONE, batch=30)),
        check_labels=False,
        measure=False,
    )
    assert len(moved) == 2  # until the first look
