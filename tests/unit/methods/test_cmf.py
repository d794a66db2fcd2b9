"""CMF: the head is computed from the features and never trained."""

import copy

import pytest
import torch
from small_network import Net, context_of, stacked
from torch import nn
from torch.nn.functional import normalize
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import DataError, UsageError
from unspan.methods import cmf
from unspan.methods.cmf import CMF, class_mean_head
from unspan.methods.esc import ESC
from unspan.methods.finetune import Finetune
from unspan.metrics.class_means import misalignment
from unspan.training import loop
from unspan.training.settings import Training

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]
SHORT = Training(lr=0.02, epochs=2, batch=32)
NEEDS = ("forget", "retain")
BASES = ("scrub", "random-labels", "neggrad-plus")


def erased(case, **settings):
    net, request, _ = case
    method = CMF(**{"training": SHORT} | settings)
    return unspan.erase(net, request, method, check_labels=False, measure=False)


def features_of(net, x):
    """Input of the head before any map."""
    return net.relu(net.norm(net.first(x)))


@pytest.mark.parametrize("base", BASES)
def test_scores_are_those_of_the_class_means_of_the_encoder_that_comes_out(case, base):
    done = erased(case, base=base, tau=3.0)
    x, y = case[2].tensors
    with torch.no_grad():
        f = normalize(features_of(done.model, x).double(), dim=1)
        mu = f.mean(0)
        w = normalize(torch.stack([f[y == k].mean(0) for k in range(4)]) - mu, dim=1)
        want = 3 * normalize(f - mu, dim=1) @ w.mT
        assert torch.allclose(done.model(x).double(), want, atol=1e-5)
    assert not torch.equal(done.model.first.weight, case[0].first.weight)
    assert float(done.model.head.bias.abs().max()) == 0


def test_the_length_of_a_feature_does_not_count(case):
    done = erased(case)
    x = case[2].tensors[0]
    with torch.no_grad():
        features = features_of(done.model, x)
        scale = torch.linspace(0.01, 100, len(x))[:, None]
        assert torch.allclose(done.model.head(features), done.model(x), atol=1e-6)
        assert torch.allclose(done.model.head(scale * features), done.model(x), atol=1e-5)


@pytest.mark.parametrize("base", BASES)
def test_the_head_stands_still_within_an_epoch_and_is_no_parameter(case, base, monkeypatch):
    context = context_of(case[0], case[1], NEEDS)
    head, seen, trained = context.model.head, [], []
    step, make = loop._Loop._step, loop._optimiser

    def watched(self, loss_of, batch, epoch, changes, **more):
        found = step(self, loss_of, batch, epoch, changes, **more)
        assert head.weight.grad is None and head.bias.grad is None
        seen.append((epoch, head.weight.detach().clone()))
        return found

    def watched_optimiser(parameters, settings):
        trained.extend(map(id, parameters))
        return make(parameters, settings)

    monkeypatch.setattr(loop._Loop, "_step", watched)
    monkeypatch.setattr(loop, "_optimiser", watched_optimiser)
    CMF(base=base, training=SHORT).unlearn(context)
    assert id(head.weight) not in trained and id(head.bias) not in trained
    assert id(context.model.first.weight) in trained
    for epoch in (1, 2):
        weights = [weight for number, weight in seen if number == epoch]
        assert len(weights) > 3 and all(torch.equal(one, weights[0]) for one in weights)
    assert not torch.equal(seen[0][1], seen[-1][1])
    assert all(one.requires_grad for one in context.model.parameters())


def test_the_mean_is_over_samples_not_over_classes():
    g = torch.Generator().manual_seed(0)
    f = normalize(torch.randn(100, 3, generator=g).double() + 1, dim=1)
    y = (torch.arange(100) >= 90).long()  # 9 to 1
    sums = torch.stack([f[y == k].sum(0) for k in (0, 1)])
    mean, weight = class_mean_head(sums, torch.bincount(y), 2)
    of_classes = torch.stack([f[y == k].mean(0) for k in (0, 1)])
    assert torch.allclose(mean, f.mean(0))
    assert float((mean - of_classes.mean(0)).norm()) > 0.1
    assert torch.allclose(weight, normalize(of_classes - f.mean(0), dim=1))


def test_a_collapsed_simplex_gets_a_head_that_points_at_its_means():
    labels = torch.arange(40) % 4
    f = normalize((torch.eye(4) - 0.25)[labels].double(), dim=1)
    sums = torch.zeros(4, 4, dtype=torch.float64).index_add_(0, labels, f)
    _, weight = class_mean_head(sums, torch.bincount(labels), 4)
    assert misalignment(f, labels, weight, "s").value == pytest.approx(0, abs=1e-9)


def test_a_class_without_samples_is_an_error(case):
    net, _, data = case
    x, y = data.tensors
    known = y != 1
    part = TensorDataset(x[known], y[known])
    with pytest.raises(DataError, match="no sample of class 1"):
        CMF().unlearn(context_of(net, unspan.Request.by_class(part, 2), NEEDS))


def test_the_teacher_of_scrub_keeps_the_head_of_the_original(case, monkeypatch):
    context = context_of(case[0], case[1], NEEDS)
    kept, plan = [], cmf.Scrub.plan

    def watched(self, context):
        found = plan(self, context)
        teacher = found.args[1]
        kept.append((teacher, copy.deepcopy(teacher.state_dict())))
        return found

    monkeypatch.setattr(cmf.Scrub, "plan", watched)
    CMF(training=SHORT).unlearn(context)
    teacher, before = kept[0]
    assert all(torch.equal(one, before[key]) for key, one in teacher.state_dict().items())
    assert "unspan.mean" in before


def test_a_folder_opens_again_and_takes_no_further_request(case, tmp_path):
    done = erased(case)
    done.save(tmp_path / "out")
    loaded = unspan.load(tmp_path / "out", model=Net())
    x = stacked(case[1].retain)[0]
    with torch.no_grad():
        assert torch.equal(loaded(x), done.model(x))
    further = unspan.Request.by_class(case[2], 0)
    for method in (ESC(rank=1), Finetune()):
        with pytest.raises(UsageError, match="head of method cmf"):
            unspan.erase(done, further, method, check_labels=False)


def test_a_run_that_was_killed_goes_on_to_the_same_weights(case, tmp_path, monkeypatch):
    net, request, _ = case
    method = CMF(training=Training(lr=0.02, epochs=3, batch=32))

    def run(folder):
        return unspan.erase(
            net, request, method, check_labels=False, measure=False, resume=folder
        ).model.state_dict()

    whole = run(tmp_path / "whole")
    row = loop._Loop.row

    def killed(self, plan, epoch):
        if epoch == 3:
            raise KeyboardInterrupt
        return row(self, plan, epoch)

    monkeypatch.setattr(loop._Loop, "row", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part")
    monkeypatch.undo()
    again = run(tmp_path / "part")
    assert all(torch.equal(one, again[key]) for key, one in whole.items())


def test_a_head_whose_weights_are_used_elsewhere_is_refused(case):
    net = copy.deepcopy(case[0])
    net.twin = nn.Linear(6, 4)
    net.twin.weight = net.head.weight
    with pytest.raises(UsageError, match="elsewhere"):
        CMF().unlearn(context_of(net, case[1], NEEDS))


@pytest.mark.parametrize("wrong", [{"base": "salun"}, {"tau": 0.0}])
def test_settings_that_are_impossible_are_refused(wrong):
    with pytest.raises(UsageError):
        CMF(**wrong)
