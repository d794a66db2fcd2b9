"""POUR-D trains features towards projected ones, on forget samples alone."""

import copy
from dataclasses import replace

import pytest
import torch
from small_network import ONE, Forbidden, changed_of, context_of, stacked

import unspan
from unspan.errors import UsageError
from unspan.methods.pour_d import POURD, mean_rows
from unspan.methods.pour_p import complement
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
USUAL = replace(POURD().training, lr=0.003, epochs=60)


def features(net, x):
    return net.relu(net.norm(net.first(x)))


def erased(net, request, method):
    return unspan.erase(net, request, method, check_labels=False, measure=False)


def test_the_settings_are_those_of_the_paper():
    usual = POURD().training
    assert (usual.optimiser, usual.momentum, usual.weight_decay) == ("nesterov", 0.9, 5e-4)
    assert usual.cosine and usual.batchnorm == "frozen"


def test_steps_are_of_descent_on_the_distance_to_projected_features_of_the_original(case):
    net, request, _ = case
    size = len(request.forget)
    training = replace(ONE, batch=size, epochs=3, lr=0.01)
    new = erased(net, request, POURD(training=training)).model
    x, _ = stacked(request.forget)
    row = net.head.weight[2].detach()
    old = features(net, x).detach()
    goal = old - old @ row[:, None] * row / row.square().sum()
    want = copy.deepcopy(net)
    weights = [want.first.weight, want.first.bias, want.norm.weight, want.norm.bias]
    for _ in range(3):
        loss = (features(want, x) - goal).square().sum(1).mean()
        with torch.no_grad():
            for one, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                one -= 0.01 * slope
    found = [new.first.weight, new.first.bias, new.norm.weight, new.norm.bias]
    for one, other in zip(found, weights, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_features_come_nearer_to_the_projected_ones(case):
    net, request, _ = case
    done = erased(net, request, POURD(training=USUAL))
    row = net.head.weight[2].detach().double()
    x, _ = stacked(request.forget)
    with torch.no_grad():
        old, new = features(net, x).double(), features(done.model, x).double()
    goal = old @ complement(row[None])
    loss = [row["loss"] for row in done.receipt["method"]["fit"]["history"]]
    assert loss[-1] < loss[0] / 2
    assert (new - goal).square().sum() < (old - goal).square().sum() / 2


def test_head_and_running_statistics_stay_to_the_bit_and_the_rest_moves(case):
    net, request, _ = case
    changed = changed_of(net, erased(net, request, POURD(training=USUAL)).model)
    assert changed == {"first.weight", "first.bias", "norm.weight", "norm.bias"}


def test_retained_samples_are_never_touched(case):
    net, request, _ = case
    blind = replace(request, retain=Forbidden(50), test_forget=None, test_retain=None)
    one, two = (erased(net, given, POURD(training=USUAL)).model for given in (request, blind))
    assert not changed_of(one, two)


def test_labels_are_not_read_where_the_class_is_known(case):
    net, request, _ = case
    x, y = stacked(request.forget)
    context = context_of(net, request, ("forget",))
    bare = context_of(net, request, ("forget",))
    bare.parts["forget"] = [(one,) for one in x]
    object.__setattr__(bare, "labelled", POURD.labelled)
    history = [
        POURD(training=USUAL).unlearn(one).history[-1]["forget_accuracy"] for one in (context, bare)
    ]
    assert not changed_of(context.model, bare.model)
    assert history[0] is not None and history[1] is None


def test_means_are_centred_and_one_a_class(case):
    net, _, data = case
    request = unspan.Request.by_class(data, [1, 2])
    x, y = stacked(data)
    with torch.no_grad():
        z = features(net, x).double()
    want = torch.stack([z[y == label].mean(0) for label in (1, 2)]) - z.mean(0)
    assert torch.allclose(mean_rows(context_of(net, request), batch=7), want, atol=1e-6)
    assert POURD(direction="means").needs == {"forget", "retain"}


def test_means_need_no_class(case):
    net, request, _ = case
    bare = unspan.Request(forget=request.forget, retain=request.retain)
    with pytest.raises(UsageError, match="no class"):
        erased(net, bare, POURD())
    done = erased(net, bare, POURD(direction="means", training=USUAL))
    assert done.receipt["method"]["fit"]["directions"] == 1


def test_settings_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="direction"):
        POURD(direction="ghost")
    with pytest.raises(UsageError, match="nesterov"):
        Training(lr=0.1, epochs=1, optimiser="nesterov", momentum=0.0)
