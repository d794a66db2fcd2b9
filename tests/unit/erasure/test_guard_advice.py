"""Advice of a refusal is possible, and a loss above the limit that is not refused is told."""

from dataclasses import replace

import pytest
import torch

from unspan.erasure import cautions, guard
from unspan.erasure.evaluation import Answers, Part, row, rows
from unspan.methods import METHODS, SSD, configured, listed
from unspan.methods.settings import settings_of


def advice(name, figures=None, **settings):
    kind = next(method for method in METHODS if method.name == name)
    found = guard.Finding([], {}, None, "class 3 is still named.", [])
    return guard.refusal(found, configured(kind, settings), None, figures or {})


@pytest.mark.parametrize(
    ("name", "settings", "figures", "told"),
    [
        ("damp", {}, {"stages": [1, 2, 3]}, "Set alpha=1, and"),
        ("damp", {"stages": 12}, {"stages": [1, 2, 3]}, "Set alpha=1, and"),
        ("damp", {"alpha": 0.5, "stages": 2}, {"stages": [1, 2]}, "Raise alpha (now 0.5, at most"),
        ("damp", {"alpha": 1}, {"stages": [1, 2, 3]}, "Choose another method"),
        ("cf-k", {"k": 2}, {"layers": 4}, "Raise k (now 2, at most 4) or raise lr"),
        ("cf-k", {"k": 4}, {"layers": 4}, "still named. Raise lr"),
        ("eu-k", {"k": 9}, {"layers": 4}, "Choose another method"),
        ("ssd", {}, {}, "Lower alpha (now 5) or lower dampening (now 1), and"),
        ("salun", {"rho": 1}, {}, "Raise lr (now 0.013), and"),
        ("cmf", {"lr": 0.5}, {}, "names whatever these show"),
        ("pour-p", {}, {}, "The score of the class is 0 now"),
        ("esc", {}, {}, "Raise rank or raise p, and"),
        ("esc", {"rank": 2}, {}, "Raise rank (now 2), and"),
    ],
)
def test_advice_can_be_followed(name, settings, figures, told):
    assert told in advice(name, figures, **settings)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_method_is_told_to_raise_a_setting_above_its_limit(method):
    """At its limits a method is never told to go further: what it is told, it would take."""
    limits = {name: most for name, most in method().limits({}).items()}
    kinds = dict(listed(method))
    at = {name: type(kinds[name] or 1.0)(most) for name, most in limits.items()}
    made = configured(method, at)
    told = guard.refusal(guard.Finding([], {}, None, "named.", []), made, None, {})
    assert not any(f"aise {name} (" in told or f"et {name}=" in told for name in limits)
    assert set(made.stronger_when_lower) <= settings_of(made).keys()


def answers(n, lost, label=0):
    after = torch.arange(n) >= lost
    return Answers(torch.full((n,), label), torch.ones(n).bool(), after, outputs=10)


def test_a_loss_above_the_limit_that_is_not_shown_is_a_warning_with_its_numbers():
    few = rows([row(answers(90, 4), "checked retain", Part.RETAIN)])
    (told,) = cautions.over_limit(few, 3.0)
    assert "4.4 points of accuracy were lost (95 % interval" in told and "3 may be lost" in told
    assert "more samples would decide" in told
    many = rows([row(answers(900, 60), "test retain", Part.RETAIN)])
    assert "on these the loss is shown" in cautions.over_limit(many, 3.0)[0]
    assert cautions.over_limit(few, 5.0) == guard.over_limit(few, None) == []
    assert cautions.over_limit([few[0] | {"part": Part.FORGET.value}], 3.0) == []


def test_a_class_of_which_more_than_half_is_left_is_told_where_it_is_not_shown():
    gone = answers(130, 52)  # 60 % are still named
    assert guard._named(gone, (0,), None) is None
    (told,) = cautions.partly_named(gone, (0,), None)
    assert told.startswith("class 0 is still named for 60.0% of 130 samples, 100.0% before")
    assert cautions.partly_named(answers(130, 120), (0,), None) == []


def test_a_changed_method_keeps_its_own_advice():
    assert replace(SSD(), alpha=2.0).stronger_when_lower == ("alpha", "dampening")
