"""Bake: the matching loss against its definition, and what it does to small networks."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.nn.functional import cross_entropy
from torch.utils.data import ConcatDataset, Subset, TensorDataset

import unspan
from unspan.erasure.checks import parts_of
from unspan.errors import InconclusiveError, UsageError
from unspan.extraction import eval_mode, find_feature_layer, read
from unspan.methods.bake import Bake, _order
from unspan.methods.baking.energy import (
    energy_distance,
    mean_over_pairs,
    whitening_within_classes,
)
from unspan.methods.baking.held_out import HeldOut
from unspan.methods.baking.layers import layers_with_weights, matched_layers, pooled_inputs
from unspan.methods.baking.targets import shuffled_repeats, target_classes
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.run import Run
from unspan.training.checkpoint import Checkpoint
from unspan.training.context import TrainingContext
from unspan.training.samples import Samples
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def clouds(seed=0, forget=12, retained=60, dim=3, classes=3):
    """Forget features with targets, retained features with classes, float64."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(forget + retained, dim, generator=g, dtype=torch.float64) * torch.arange(
        1, dim + 1
    )
    y = torch.randint(classes, (forget + retained,), generator=g)
    return x[:forget], y[:forget], x[forget:], y[forget:]


def test_the_distance_is_the_energy_distance_of_whitened_features_of_equal_class():
    f, j, r, y = clouds()
    centre, factor = whitening_within_classes(r, y)
    inverse = torch.linalg.inv(factor)
    f1, r1 = ((x - centre) @ inverse.T / 3**0.5 for x in (f, r))
    rows = range(len(f))
    to = [
        torch.stack([(f1[i] - r1[k]).norm() for k in range(len(r)) if y[k] == j[i]]).mean()
        for i in rows
    ]
    own = [
        torch.stack([(f1[i] - f1[k]).norm() for k in rows if j[k] == j[i] and k != i]).mean()
        for i in rows
        if (j == j[i]).sum() > 1
    ]
    assert torch.allclose(
        energy_distance(f, j, r, y), 2 * torch.stack(to).mean() - torch.stack(own).mean()
    )


def test_the_distance_has_the_right_gradient_and_no_scale():
    f, j, r, y = clouds()
    assert gradcheck(lambda x: energy_distance(x, j, r, y), f.requires_grad_())
    assert torch.allclose(
        energy_distance(f, j, r, y), energy_distance(10 * f + 3, j, 10 * r + 3, y)
    )


def test_features_that_follow_the_distance_take_the_mean_and_the_spread_of_their_class():
    _, _, r, y = clouds(retained=600, dim=2)
    r = r + 4 * torch.nn.functional.one_hot(y, 3).double() @ torch.tensor(
        [[1.0, 0], [0, 1], [-1, -1]], dtype=torch.float64
    )
    j = torch.arange(240) % 3
    f = (
        0.01 * torch.randn(240, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ).requires_grad_()
    adam = torch.optim.Adam([f], lr=0.05)
    for _ in range(600):
        adam.zero_grad()
        energy_distance(f, j, r, y).backward()
        adam.step()
    for one in range(3):
        ours, theirs = f.detach()[j == one], r[y == one]
        assert torch.allclose(ours.mean(0), theirs.mean(0), atol=0.2) and torch.allclose(
            ours.std(0), theirs.std(0), rtol=0.4
        )


def test_whitened_features_have_covariance_one_within_classes_and_few_of_them_are_enough():
    _, _, r, y = clouds(retained=500)
    factor = whitening_within_classes(r, y)[1]
    assert torch.allclose(
        factor @ factor.T,
        _scatter(r, y) + 0.1 * _scatter(r, y).diagonal().diag(),
        atol=1e-9,
    )
    assert torch.isfinite(energy_distance(r[:4], y[:4], r[:2], y[:2]))
    assert torch.isfinite(energy_distance(r[:1], y[:1], r[:1], 1 + y[:1]))


def _scatter(r, y):
    rest = torch.cat([r[y == c] - r[y == c].mean(0) for c in y.unique()])
    return rest.T @ rest / len(rest)


def test_rows_without_a_partner_do_not_count():
    pairs = torch.tensor([[True, True], [False, False], [True, False]])
    assert mean_over_pairs(torch.tensor([[1.0, 3], [9, 9], [4, 9]]), pairs) == 3
    assert mean_over_pairs(torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.bool)) == 0


def test_all_come_before_any_comes_again():
    found = shuffled_repeats(torch.tensor([3, 5, 8]), 7, torch.Generator().manual_seed(0))
    assert len(found) == 7 and sorted(found[:3].tolist()) == sorted(found[3:6].tolist()) == [
        3,
        5,
        8,
    ]


def work_of(net, request):
    x = torch.stack([request.forget[i][0] for i in range(2)])
    return TrainingContext(
        model=net,
        feature_layer=find_feature_layer(net, x)[0],
        parts=parts_of(request, Bake.needs, Bake.reads_if_given),
        run=Run(),
        checkpoint=Checkpoint(None, ""),
        classes=10,
        forgotten=request.classes,
    )


def test_targets_are_the_next_likely_retained_classes(digits_net, digits_request):
    work = work_of(digits_net, digits_request)
    samples = work.samples("forget", "retain")
    labels = target_classes(work, samples)
    with eval_mode(digits_net):
        scores = digits_net(samples.take(samples.forget.nonzero()[:, 0]).x)
    scores[:, 3] = -torch.inf
    assert torch.equal(labels[samples.forget], scores.argmax(1)) and torch.equal(
        labels[~samples.forget], samples.y[~samples.forget]
    )


def test_targets_have_retained_samples_and_are_not_the_samples_own(digits, digits_net):
    y = torch.tensor([int(label) for _, label in digits["train"]])
    index = torch.arange(len(y))
    forget, retain = index[:40], index[40:][y[40:] < 3]
    request = unspan.Request(
        forget=Subset(digits["train"], forget.tolist()),
        retain=Subset(digits["train"], retain.tolist()),
        kind="data",
        selector=(),
    )
    work = work_of(digits_net, request)
    labels = target_classes(work, work.samples("forget", "retain"))[:40]
    assert (y[:40] < 3).any() and (labels != y[:40]).all() and (labels < 3).all()


def head(data, part):
    """The first or the second ten."""
    return Subset(data.dataset, data.indices[10 * part : 10 * part + 10])


def test_no_class_left_is_said(digits_net, digits_request):
    with pytest.raises(UsageError, match="none left"):
        unspan.erase(
            digits_net,
            replace(
                digits_request,
                forget=head(digits_request.forget, 0),
                retain=head(digits_request.forget, 1),
                kind="data",
                classes=(),
            ),
            Bake(),
            check_labels=False,
        )


def test_it_matches_what_the_last_layers_are_given(digits_net, digits_request):
    x = torch.stack([digits_request.retain[i][0] for i in range(5)])
    names = layers_with_weights(digits_net, x)
    assert names == ["conv1", "conv2", "fc", "head"]
    with pooled_inputs(digits_net, names[1:]) as seen, eval_mode(digits_net):
        features = read(digits_net, find_feature_layer(digits_net, x)[0], x)[0]
    assert torch.equal(seen["head"], features) and seen["fc"].shape == (5, 512)
    assert torch.allclose(seen["conv2"], digits_net.relu1(digits_net.conv1(x)).mean((2, 3)))


def test_a_probe_reads_less_with_the_matching_than_without_and_the_rest_stays():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(1200) % 4
    x = 2 * torch.randn(4, 8, generator=g)[y] + torch.randn(1200, 8, generator=g)
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 32),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.Linear(32, 16),
        nn.BatchNorm1d(16),
        nn.ReLU(),
        nn.Linear(16, 4),
    )
    adam = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(60):
        adam.zero_grad()
        cross_entropy(net(x[:800]), y[:800]).backward()
        adam.step()
    request = unspan.Request.by_class(TensorDataset(x[:800], y[:800]), 2)
    reads, keeps = {}, {}
    for weight in (0.0, 1.0):
        method = Bake(
            weight=weight,
            steps=260,
            layers=2,
            training=Training(lr=0.02, epochs=8, batch=64, cosine=True),
        )
        baked = unspan.erase(net.eval(), request, method).model
        with eval_mode(baked):
            features, scores = baked[:6](x), baked(x)
        whole = Outputs(features=features, logits=scores, labels=y, forget=y == 2)
        fit, test = whole.rows(torch.arange(800)), whole.rows(torch.arange(800, 1200))
        reads[weight] = linear_probe(fit, test).value
        keeps[weight] = float((test.logits.argmax(1) == test.labels)[~test.forget].double().mean())
    assert reads[1.0] < reads[0.0] - 0.15, (reads, keeps)
    assert keeps[1.0] > keeps[0.0] - 0.05, (reads, keeps)


def test_ten_retained_images_of_a_class_are_enough_to_run(digits_net, digits_request):
    few = replace(digits_request, retain=Subset(digits_request.retain, list(range(90))))
    done = unspan.erase(
        digits_net,
        few,
        Bake(steps=14, drop=100.0, training=Training(lr=0.01, epochs=2, batch=32, cosine=True)),
        check_labels=False,
    )
    report = done.receipt["method"]["fit"]
    assert report["lowered"] == 0 and report["trained"] == 2 * 7 * (32 + 32)
    assert report["asked"] == report["samples"] + 2 * 7 * 32 + 3 * report["held_out"]


def test_weights_that_are_not_finite_at_any_step_say_what_to_lower(digits_net, digits_request):
    with pytest.raises(InconclusiveError, match="Lower lr"):
        unspan.erase(
            digits_net,
            digits_request,
            Bake(training=Training(lr=1e14, epochs=1)),
            Run(batch_size=128),
            check_labels=False,
        )


def test_a_step_that_ruins_the_network_is_lowered(digits_net, digits_request):
    done = unspan.erase(
        digits_net,
        digits_request,
        Bake(steps=45, training=Training(lr=3.0, epochs=3, cosine=True)),
        Run(batch_size=128),
        check_labels=False,
        max_drop=None,
    )
    report = done.receipt["method"]["fit"]
    last = report["history"][-1]
    assert report["lowered"] >= 1 and last["lr"] < 1.0
    assert last["shown_lost"] <= 1.0 or report["lowered"] == 2
    assert len(report["history"]) == 3  # the training that counts ran to its end
    assert report["trained"] > 3 * 15 * (128 + 32)  # those before it are counted too


def test_what_is_held_out_is_never_trained_on(digits_net, digits_request):
    seen: set[int] = set()
    samples = Samples([(digits_request.forget, True), (digits_request.retain, False)], Run())
    context = work_of(digits_net, digits_request)
    held = HeldOut.drawn(context, samples)
    method = Bake(forget_batch=3, training=Training(lr=0.1, epochs=1, batch=50))
    for epoch in range(1, 60):
        seen |= set(_order(context, samples, held, method, 5, epoch).flatten().tolist())
    apart = set(held.apart.tolist())
    assert held.index is held.apart and held.samples is samples
    assert len(apart) == len(digits_request.retain) // 10 and not apart & seen
    assert not samples.forget[held.index].any()
    assert len(seen) == len(samples) - len(apart)


def test_held_out_samples_of_the_request_judge_the_cost_and_nothing_is_kept_apart(
    digits_net, digits_request
):
    digit = digits_request.classes[0]
    forget, retain = digits_request.forget, digits_request.retain
    asked = replace(
        digits_request,
        forget=Subset(forget, list(range(10, len(forget)))),
        retain=Subset(retain, list(range(40, len(retain)))),
        holdout=ConcatDataset([Subset(forget, list(range(10))), Subset(retain, list(range(40)))]),
    )
    samples = Samples([(asked.forget, True), (asked.retain, False)], Run())
    held = HeldOut.drawn(work_of(digits_net, asked), samples)
    assert len(held.apart) == 0 and held.index.tolist() == list(range(10, 50))
    assert digit not in held.samples.y[held.index]
    done = unspan.erase(
        digits_net,
        asked,
        Bake(steps=4, training=Training(lr=0.01, epochs=1, batch=2000)),
        check_labels=False,
        measure=False,
    )
    report = done.receipt["method"]["fit"]
    assert report["held_out"] == 40 and report["retained_used"] == len(asked.retain)


@pytest.mark.parametrize("of_the_request", [True, False])
def test_held_out_samples_of_the_request_alone_judge_nothing(
    digits_net, digits_request, of_the_request
):
    held = replace(digits_request, holdout=digits_request.forget if of_the_request else None)
    samples = Samples([(held.forget, True), (held.retain, False)], Run())
    drawn = HeldOut.drawn(work_of(digits_net, held), samples)
    assert len(drawn.apart) == len(digits_request.retain) // 10


def test_what_is_lost_is_counted_on_the_held_out_samples(digits_net, digits_request):
    samples = Samples([(digits_request.forget, True), (digits_request.retain, False)], Run())
    held = HeldOut.drawn(work_of(digits_net, digits_request), samples)
    assert held.lost(digits_net)[0] == 0 and held.lost(digits_net)[1] <= 0
    constant = copy.deepcopy(digits_net)
    with torch.no_grad():
        constant.head.weight.zero_()
        constant.head.bias.copy_(torch.arange(10.0))
    right = held.before.double().mean() - (samples.y[held.index] == 9).double().mean()
    lost, shown = held.lost(constant)
    assert lost == pytest.approx(100 * float(right)) and 0 < shown < lost
    reverse = replace(held, before=~held.before)  # what was missed is named now, and the other way
    gain = 2 * float(held.before.double().mean()) - 1
    assert reverse.lost(digits_net)[0] == pytest.approx(-100 * gain)


def test_layers_are_spread_over_the_last_half_and_the_head_is_among_them():
    net = nn.Sequential(*[nn.Linear(4, 4) for _ in range(12)]).eval()
    x = torch.randn(2, 4)
    assert matched_layers(net, x, 3) == ["6", "9", "11"]
    assert matched_layers(net, x, 1) == ["11"]
    assert matched_layers(net, x, 50) == [str(i) for i in range(6, 12)]
    for count in range(2, 6):
        found = matched_layers(net, x, count)
        assert len(set(found)) == count and found[0] == "6" and found[-1] == "11"


def test_impossible_settings_are_refused():
    for bad in (
        {"layers": 0},
        {"weight": -1.0},
        {"steps": 0},
        {"forget_batch": 0},
        {"memory": 0},
    ):
        with pytest.raises(UsageError):
            Bake(**bad)
