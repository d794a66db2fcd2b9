"""Membership of single samples: within the class, and never from scores that are tied."""

import pytest
import torch

from unspan.auditing.single_samples import sample_attack
from unspan.metrics.outputs import Outputs

CLASSES, N = 4, 400


def outputs(seed, *, forgot, leak=0.0):
    """Logits of a network; one that forgot class 0 hardly ever names it. `leak` adds to the class
    of training samples of class 0.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(N) % CLASSES
    logits = torch.randn(N, CLASSES, generator=generator)
    logits[torch.arange(N), labels] += 3.0
    if forgot:
        logits[:, 0] -= 12.0
    logits[labels == 0, 0] += leak
    return Outputs(features=logits, logits=logits, labels=labels, forget=labels == 0)


def models(*, leak, forgot=True, seed=0):
    """Outputs on training and test data: the original, the erased model and two references."""
    fit, test = {}, {}
    for number, name in enumerate(("before", "after", "reference 1", "reference 2")):
        gone = forgot if name == "after" else name != "before"
        own = leak if name in ("before", "after") else 0.0
        fit[name] = outputs(1000 * seed + number, forgot=gone, leak=own)
        test[name] = outputs(1000 * seed + 100 + number, forgot=gone)
    return fit, test


def attacked(fit, test):
    return sample_attack(fit, test, ["reference 1", "reference 2"], by_class=True)


def areas(leak, seeds=10):
    """Mean AUC of RMIA and LiRA over independent models and samples, by model."""
    found = [attacked(*models(leak=leak, seed=seed)) for seed in range(seeds)]
    return {
        (name, place): sum(one[name][place].value for one in found) / seeds
        for name in ("before", "after")
        for place in (0, 1)
    }


def test_a_trace_of_samples_of_a_forgotten_class_is_found_within_the_class():
    """Among samples of other classes, all more probable now, every score would be 0."""
    found = areas(leak=2.0)
    assert min(found.values()) > 0.75


def test_without_a_trace_the_area_is_one_half():
    found = areas(leak=0.0, seeds=20)
    assert found == pytest.approx(dict.fromkeys(found, 0.5), abs=0.04)


def test_scores_that_are_tied_say_nothing():
    """A model that gives every sample the same answer cannot be said to hide its samples."""
    fit, test = models(leak=0.0)
    for part in (fit, test):
        for name in part:
            one = part[name]
            part[name] = Outputs(
                features=one.features,
                logits=torch.zeros_like(one.logits),
                labels=one.labels,
                forget=one.forget,
            )
    assert attacked(fit, test) == {}


def test_too_few_unseen_samples_of_the_class_say_nothing():
    fit, test = models(leak=1.5)
    few = torch.cat([(test["before"].labels == 0).nonzero()[:15, 0], torch.arange(1, N, 4)])
    assert attacked(fit, {name: one.rows(few) for name, one in test.items()}) == {}
