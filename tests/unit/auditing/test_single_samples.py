"""Membership of single samples: within the class, and never from scores that are tied."""

from dataclasses import replace

import pytest
import torch

from unspan.auditing.single_samples import FEWEST, sample_attack
from unspan.metrics.identity import AttackKind
from unspan.metrics.outputs import Outputs
from unspan.metrics.rmia import DEFAULT_A

CLASSES, N = 4, 400
REFERENCES = ["reference 1", "reference 2"]
MODELS = ("before", "after", *REFERENCES)


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
    for number, name in enumerate(MODELS):
        gone = forgot if name == "after" else name != "before"
        own = leak if name in ("before", "after") else 0.0
        fit[name] = outputs(1000 * seed + number, forgot=gone, leak=own)
        test[name] = outputs(1000 * seed + 100 + number, forgot=gone)
    return fit, test


def attacked(fit, test):
    return sample_attack(fit, test, REFERENCES, by_class=True)


def areas(leak, seeds=10):
    """Mean AUC of RMIA and LiRA over independent models and samples, by model."""
    found = [attacked(*models(leak=leak, seed=seed)) for seed in range(seeds)]
    return {
        (name, place): sum(one[name][place].reading.value for one in found) / seeds
        for name in MODELS
        for place in (0, 1)
    }


def test_a_trace_of_samples_of_a_forgotten_class_is_found_within_the_class():
    """Among samples of other classes, all more probable now, every score would be 0."""
    found = areas(leak=2.0)
    assert min(value for (name, _), value in found.items() if name in MODELS[:2]) > 0.75
    none = {key: value for key, value in found.items() if key[0] in REFERENCES}
    assert none == pytest.approx(dict.fromkeys(none, 0.5), abs=0.06)


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


def test_both_attacks_are_judged_on_the_same_samples():
    """A class without a population is left out of both, and every unseen sample is used."""
    fit, test = models(leak=1.5)
    asked = torch.arange(N) % CLASSES < 2  # two classes, of which one has few unseen samples
    few = torch.cat([torch.arange(0, N, 4), torch.arange(1, N, 4)[: FEWEST - 1]])
    fit = {name: replace(one, forget=asked) for name, one in fit.items()}
    test = {name: replace(one, forget=asked).rows(few) for name, one in test.items()}
    for attacks in attacked(fit, test).values():
        assert {len(one.members) for one in attacks} == {N // CLASSES}
        assert {len(one.others) for one in attacks} == {N // CLASSES}


def test_members_and_unseen_samples_are_measured_by_one_variance():
    """References that agree more on training samples do not make those samples stand out."""
    fit, test = models(leak=0.0)
    calm = fit["reference 1"]
    fit["reference 2"] = replace(calm, logits=calm.logits + 1e-3 * fit["reference 2"].logits)
    attack = attacked(fit, test)["after"][1]
    assert float(attack.members.std() / attack.others.std()) == pytest.approx(1, abs=0.3)


def test_a_is_chosen_on_the_original_and_not_on_the_erased_model():
    fit, test = models(leak=2.0, forgot=False)
    attack = attacked(fit, test)["after"][0]
    assert "chosen on the original" in attack.note
    fit["after"] = outputs(77, forgot=False)
    assert attacked(fit, test)["after"][0].note == attack.note
    other = {name: one.rows(torch.arange(4 * 40)) for name, one in fit.items()}
    assert attacked(other, test)["after"][0].note.startswith(f"a = {DEFAULT_A:g}, not chosen")


def test_the_chosen_a_tells_at_least_as_much_as_the_default(monkeypatch):
    """Networks that did not see the class differ a lot: only the ratio to them tells."""
    from unspan.auditing import single_samples

    chosen, fixed = [], []
    for seed in range(10):
        fit, test = models(leak=1.0, forgot=False, seed=seed)
        hard = 4 * torch.randn(N, generator=torch.Generator().manual_seed(seed))
        for part, shift in ((fit, hard), (test, hard.roll(1))):
            for name, one in part.items():
                lowered = one.logits.clone()
                lowered[torch.arange(N), one.labels] += shift
                part[name] = replace(one, logits=lowered)
        chosen.append(attacked(fit, test)["after"][0].reading.value)
        with monkeypatch.context() as patch:
            patch.setattr(single_samples, "_TELLS", N)
            fixed.append(attacked(fit, test)["after"][0].reading.value)
    assert sum(chosen) / 10 > sum(fixed) / 10


def test_rates_of_false_positives_need_enough_unseen_samples():
    """One row for each attack, model and rate; the number needed is named where there are fewer."""
    found = attacked(*models(leak=2.0))["after"]
    rows = [line for one in found for line in one.rows("after")]
    assert [one.name for one in rows] == [
        f"{attack} {what}"
        for attack in ("RMIA", "LiRA", "two-sided loss")
        for what in ("AUC", "TPR at 1 % FPR", "TPR at 0.1 % FPR")
    ]
    assert [one.value is None for one in rows] == 3 * [False, True, True]
    assert "10000 needed" in rows[2].note and "1000 needed" in rows[1].note


def test_a_reference_is_judged_by_the_others_alone():
    fit, test = models(leak=1.5)
    found = attacked(fit, test)
    assert list(found) == list(MODELS)
    for part in (fit, test):
        part["after"] = part["reference 1"]
    alone = sample_attack(fit, test, ["reference 2"], by_class=True)
    assert list(alone) == ["before", "after"]
    assert torch.equal(alone["after"][1].members, found["reference 1"][1].members)


def test_losses_that_were_all_moved_to_one_value_stand_out():
    """RMIA and LiRA see a mean as in networks that never saw the samples, and call it gone."""
    caught = []
    for seed in range(10):
        fit, test = models(leak=0.0, forgot=False, seed=seed)
        moved = fit["after"].logits.clone()
        own = fit["after"].labels == 0
        spread = torch.randn(int(own.sum()), generator=torch.Generator().manual_seed(seed))
        moved[own] = -9.0
        moved[own, 1] = 0.0
        moved[own, 0] = 3.0 + 0.1 * spread
        fit["after"] = replace(fit["after"], logits=moved, features=moved)
        found = {one.kind: one.reading.value for one in attacked(fit, test)["after"]}
        caught.append(found[AttackKind.MEMBERSHIP_LOSS])
        for name in REFERENCES:
            never = {one.kind: one.reading for one in attacked(fit, test)[name]}
            assert never[AttackKind.MEMBERSHIP_LOSS].interval()[0] < 0.55
    assert min(caught) > 0.75
