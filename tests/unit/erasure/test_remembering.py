"""Single samples: whether a network remembers them, which method is taken, and what is left."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import unspan
from unspan.erasure.remembering import Memory, Remembered, read_membership, remembered
from unspan.erasure.tuning import Rule, tune
from unspan.methods import NegGradPlus, Retrain
from unspan.metrics.score import auc_reading
from unspan.run import Run
from unspan.training.settings import Training

DIM, CLASSES, NOISE = 24, 3, 0.3
TRAINING = Training(lr=0.01, epochs=40, batch=50, optimiser="adam", weight_decay=0.0)


def drawn(n: int, seed: int) -> TensorDataset:
    """Three clusters, and labels of which a share says nothing: those must be remembered."""
    stream = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % CLASSES
    centres = 3 * torch.eye(DIM)[:CLASSES]
    inputs = centres[labels] + torch.randn(n, DIM, generator=stream)
    wrong = torch.rand(n, generator=stream) < NOISE
    drawn_labels = torch.randint(0, CLASSES, (n,), generator=stream)
    return TensorDataset(inputs, torch.where(wrong, drawn_labels, labels))


FORGET, RETAIN, HOLDOUT, UNSEEN = (
    drawn(n, seed) for seed, n in enumerate((150, 240, 300, 300), start=1)
)


def request(**more) -> unspan.Request:
    whole = {"forget": FORGET, "retain": RETAIN, "holdout": HOLDOUT, "kind": "samples"}
    return unspan.Request(**whole | more)


def network(data: TensorDataset, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(DIM, 64), nn.ReLU(), nn.Linear(64, CLASSES))
    asked = unspan.Request(forget=UNSEEN, retain=data, kind="samples")
    run = Run(seed=seed)
    made = unspan.erase(net, asked, Retrain(training=TRAINING), run, measure=False)
    net.load_state_dict(made.model.state_dict())
    return net.eval()


@pytest.fixture(scope="module")
def learned() -> nn.Module:
    pairs = zip(RETAIN.tensors, FORGET.tensors, strict=True)
    return network(TensorDataset(*(torch.cat(pair) for pair in pairs)), 0)


@pytest.fixture(scope="module")
def never() -> nn.Module:
    return network(RETAIN, 1)


@pytest.fixture(scope="module")
def erased(learned) -> unspan.Deletion:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return unspan.erase(learned, request(), max_drop=None)


def test_a_network_that_saw_the_samples_remembers_them_and_one_that_did_not_is_at_chance(
    learned, never
):
    saw, did_not = (remembered(one, request(), Run()) for one in (learned, never))
    assert saw.memory is Memory.REMEMBERED and saw.low > 0.5 and not saw.do_nothing
    assert did_not.memory is Memory.AT_CHANCE and did_not.do_nothing
    assert (did_not.forget, did_not.unseen) == (150, 300)
    assert Remembered.from_dict(did_not.to_dict()) == did_not


def test_too_few_samples_do_not_show_chance(never):
    few = TensorDataset(*(one[:12] for one in FORGET.tensors))
    found = remembered(never, request(forget=few), Run())
    assert found.memory is Memory.NOT_SHOWN and not found.do_nothing


@pytest.mark.parametrize(
    "more",
    [
        {"holdout": None},
        {"classes": (0,), "kind": "class"},
        {"forget": TensorDataset(*(one[:5] for one in FORGET.tensors))},
        {"forget": TensorDataset(FORGET.tensors[0])},
    ],
    ids=["no held-out samples", "a class", "five samples", "no labels"],
)
def test_nothing_is_said_where_nothing_can_be_compared(learned, more):
    assert remembered(learned, request(**more), Run()) is None


def test_classes_that_are_harder_than_others_do_not_look_like_memory(never):
    """The attack compares within the class: here the network is sure of one class alone."""
    sure = copy.deepcopy(never)
    with torch.no_grad():
        sure[2].bias[0] += 4
    mixed = [FORGET.tensors[1] == label for label in range(CLASSES)]
    most = torch.cat([mixed[0].nonzero()[:, 0], mixed[1].nonzero()[:4, 0]])
    asked = TensorDataset(*(one[most] for one in FORGET.tensors))
    read = read_membership(sure, asked, HOLDOUT, Run())
    assert read.interval()[0] < 0.5 < read.interval()[1]


def test_the_default_for_single_samples_makes_them_like_unseen_ones(erased, learned):
    method, memory = erased.receipt["method"], erased.receipt["memory"]
    assert method["name"] == "neggrad-plus"
    assert method["settings"]["ceiling"] == "held-out" and method["fit"]["ceiling"] > 0
    assert memory["before"]["memory"] == "remembered"
    assert memory["after"]["auc"] < memory["before"]["auc"] - 0.1


def test_a_network_that_remembers_nothing_may_be_left_as_it_is(never):
    with pytest.warns(UserWarning, match="hardly remembers .* You may leave the network as it is"):
        found = unspan.erase(never, request(), max_drop=None)
    assert found.receipt["memory"]["before"]["do_nothing"] is True


@pytest.mark.parametrize(
    ("more", "name"),
    [
        ({"retain": None}, "esc"),
        ({"forget": TensorDataset(FORGET.tensors[0])}, "esc"),
        ({"holdout": None}, "neggrad-plus"),
    ],
    ids=["nothing to keep", "no labels", "no held-out samples"],
)
def test_the_method_follows_from_the_request(learned, more, name):
    made = unspan.erase(learned, request(**more), measure=False, check_labels=False)
    assert made.receipt["method"]["name"] == name


def test_trials_for_single_samples_are_judged_by_unseen_ones(learned):
    method, trials = tune(learned, request(), NegGradPlus, 3, Run())
    assert {one.rule for one in trials} == {Rule.LIKE_UNSEEN}
    best = max(trials, key=lambda one: one.score)
    assert method.ceiling == best.settings["ceiling"]
    assert method.training.optimiser == "adam"
    assert all(0 <= one.forget <= 1 for one in trials)


def test_what_is_forgotten_does_not_come_back_with_its_neighbours(erased, learned):
    """An attacker trains on half of the samples again and looks at the other half."""
    left = {name: again(model) for name, model in (("erased", erased.model), ("seen", learned))}
    assert left["erased"] < left["seen"] - 0.05


def again(model: nn.Module) -> float:
    """AUC of the other half against unseen samples, after 20 steps on the first."""
    copied = copy.deepcopy(model)
    optimiser = torch.optim.Adam(copied.parameters(), lr=1e-3)
    inputs, labels = (one[:75] for one in FORGET.tensors)
    for _ in range(20):
        optimiser.zero_grad()
        nn.functional.cross_entropy(copied(inputs), labels).backward()
        optimiser.step()
    with torch.no_grad():
        losses = [
            nn.functional.cross_entropy(copied(x), y, reduction="none")
            for x, y in ((one[75:] for one in FORGET.tensors), UNSEEN.tensors)
        ]
    return auc_reading("", *(-one for one in losses)).value
