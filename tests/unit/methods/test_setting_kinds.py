"""A value of the wrong kind is refused before any work, with the setting and how to write it."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import unspan
from unspan.cli.settings import settings
from unspan.errors import UsageError
from unspan.methods import METHODS, EUk, TrainedMethod, configured, listed
from unspan.methods.setting_kinds import fits, kinds_of
from unspan.training.settings import Training

EVERY = [(method, name, default) for method in METHODS for name, default in listed(method)]


WRONG = (2.5, "x", True, (1, "x"), float("nan"), {"a": 1})


@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_no_setting_of_any_method_takes_a_value_of_another_kind(wrong):
    for method, name, default in EVERY:
        kind = (kinds_of(Training) | kinds_of(method))[name]
        assert fits(default, kind)
        if fits(wrong, kind):
            continue
        with pytest.raises(UsageError) as caught:
            configured(method, {name: wrong})
        told = str(caught.value)
        assert told.startswith(f"{name}={wrong!r}: method {method.name} takes ")
        assert f"write for example {name}=" in told


def test_what_a_refusal_tells_to_write_is_taken():
    for method, name, _ in EVERY:
        with pytest.raises(UsageError) as caught:
            configured(method, {name: {"a": 1}}, {name: f"--set {name}"})
        pair = str(caught.value).partition("write for example --set ")[2].partition(". See ")[0]
        values, said = settings({}, [pair])
        try:
            configured(method, values, said)
        except UsageError as error:  # a value of this kind that is out of range
            assert "takes" not in str(error)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("k=1.5", r"--set k=1.5: method eu-k takes a whole number for k; .* --set k=3\."),
        ("milestones=5", r"takes whole numbers with commas between them for milestones; "),
        ("batchnorm=off", r"takes train or frozen for batchnorm; .* --set batchnorm=train\."),
        ("clip=yes", r"takes a number, or none for clip; "),
    ],
)
def test_the_refusal_speaks_of_what_was_written_on_the_command_line(pair, told):
    with pytest.raises(UsageError, match=told):
        configured(EUk, *settings({}, [pair]))


def test_lists_are_taken_where_a_setting_has_several_values():
    assert configured(EUk, {"milestones": [3, 5]}).training.milestones == (3, 5)


def test_an_instance_of_the_wrong_kind_is_refused_before_the_model_is_read():
    with pytest.raises(UsageError, match=r"k=1.5: method eu-k takes a whole number"):
        unspan.erase(torch.nn.Linear(2, 2), torch.zeros(4, 2), EUk(k=1.5))


@dataclass(frozen=True, kw_only=True)
class Elsewhere(TrainedMethod):
    """Its annotation names what only a type checker knows."""

    place: "NotImported" = None  # noqa: F821
    name: ClassVar[str] = "elsewhere"
    needs: ClassVar[frozenset[str]] = frozenset()

    def unlearn(self, context):
        raise AssertionError


def test_a_setting_of_another_package_takes_anything():
    assert configured(Elsewhere, {"place": "here"}).place == "here"
