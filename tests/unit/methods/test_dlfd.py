"""DLFD perturbs images by transport, and returns an admissible state."""

from dataclasses import replace

import pytest
import torch
from released import released
from small_network import ONE, context_of, held_out_like, stacked
from torch.utils.data import TensorDataset

import unspan
from unspan.errors import InconclusiveError
from unspan.methods import boundary, dlfd
from unspan.methods.distancing import states, transport
from unspan.training.context import accuracy_on

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]


def test_the_transport_term_reaches_the_perturbation_and_in_the_release_it_does_not(case):
    net, request, _ = case
    context = context_of(net, request, ("forget", "retain"))
    batch, forget = (context.samples(name).take(torch.arange(12)) for name in ("retain", "forget"))
    there = unspan.features(net, forget.x)
    slopes = {}
    for kind in (dlfd.DLFD, released("dlfd").ReleasedDLFD):
        moved = batch.x.clone().requires_grad_()
        gain = kind().gain(context, moved, batch.x, batch.y, there, keep=0.0)
        slopes[kind.name] = torch.autograd.grad(gain, moved, allow_unused=True)[0]
    assert float(slopes["dlfd"].abs().sum()) > 1e-3
    assert slopes["dlfd-released"] is None or float(slopes["dlfd-released"].abs().sum()) == 0


def test_transport_cost_is_the_optimal_one_and_perturbing_raises_it(case):
    import ot

    net, request, _ = case
    here, there = torch.rand(9, 5), torch.rand(7, 5)
    cost = (
        1
        - torch.nn.functional.normalize(here, dim=1)
        @ torch.nn.functional.normalize(there, dim=1).mT
    )
    exact = ot.emd2(
        torch.full((9,), 1 / 9).numpy(), torch.full((7,), 1 / 7).numpy(), cost.double().numpy()
    )
    assert float(transport.transport_cost(here, there, 1e-3)) == pytest.approx(exact, rel=0.02)
    context = context_of(net, request, ("forget", "retain"))
    batch, forget = (context.samples(name).take(torch.arange(32)) for name in ("retain", "forget"))
    low, high = boundary.value_range(context.samples("retain"), 64)
    method = dlfd.DLFD(steps=10, step=0.01, radius=0.05)
    moved = method.perturbed(context, batch, forget, 0.0, low, high)
    there = unspan.features(net, forget.x)
    apart = [
        float(transport.transport_cost(unspan.features(net, x), there, 0.01))
        for x in (batch.x, moved.x)
    ]
    assert apart[1] > apart[0] + 0.01
    assert float(((moved.x - batch.x).abs() / (high - low)).max()) <= 0.05 + 1e-5
    assert bool((moved.x >= low - 1e-6).all() and (moved.x <= high + 1e-6).all())


def test_dlfd_returns_an_admissible_state_or_says_that_there_is_none(case):
    net, request, data = case
    held = replace(request, holdout=held_out_like(request.forget))
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
    context = context_of(done.model, request)
    assert accuracy_on(done.model, context.samples("retain")) == pytest.approx(best)
    x, y = stacked(data)
    strangers = TensorDataset(x[:60] + 30, y[:60])  # never mistaken for training data
    with pytest.raises(InconclusiveError, match="no state is admissible"):
        unspan.erase(
            net,
            replace(request, holdout=strangers),
            dlfd.DLFD(save=0.001, steps=1, training=replace(ONE, lr=1e-9)),
            check_labels=False,
            measure=False,
        )


def test_dlfd_leaves_images_alone_once_the_score_is_low(case, monkeypatch):
    net, request, _ = case
    moved = []
    monkeypatch.setattr(
        dlfd.DLFD, "perturbed", lambda self, context, batch, *_: moved.append(1) or batch
    )
    monkeypatch.setattr(states, "forgetting_score", lambda context: 0.0)
    unspan.erase(
        net,
        replace(request, holdout=held_out_like(request.forget)),
        dlfd.DLFD(every=2, training=replace(ONE, batch=30)),
        check_labels=False,
        measure=False,
    )
    assert len(moved) == 2  # until the first look


def test_dlfd_tells_how_far_its_images_lie_from_the_forget_images(case):
    net, request, _ = case
    method = dlfd.DLFD(
        save=1.0, steps=8, step=0.01, radius=0.05, every=2, training=replace(ONE, batch=30, lr=1e-6)
    )
    done = unspan.erase(
        net,
        replace(request, holdout=held_out_like(request.forget)),
        method,
        check_labels=False,
        measure=False,
    )
    fit = done.receipt["method"]["fit"]
    assert fit["distances"], "looked at least once"
    assert all(one["synthesised"] > one["retained"] for one in fit["distances"])
    row = fit["history"][0]
    for name in ("retained", "synthesised"):
        own = [one[name] for one in fit["distances"]]
        assert row[f"distance_{name}"] == pytest.approx(sum(own) / len(own), abs=1e-5)
