"""`unspan methods`, completion and versions."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pytest
from typer.testing import CliRunner

import unspan
from unspan.cli import app, catalogue
from unspan.errors import UsageError
from unspan.methods import METHODS, EraserMethod, by_name
from unspan.methods.choice import Situation


def test_every_method_stands_in_a_situation_with_a_summary_of_its_card() -> None:
    assert set(catalogue.NAMES) == {method.name for method in METHODS}
    listed = CliRunner().invoke(app, ["methods"]).output
    assert all(one.title in listed and one.advice in listed for one in catalogue.SECTIONS)
    assert listed.count("[default]") == sum(bool(one.default) for one in catalogue.SECTIONS)
    assert re.search(r"  salun +random labels, but only", listed)
    assert max(map(len, listed.splitlines())) <= 80


def test_the_defaults_of_the_list_are_those_that_erase_takes() -> None:
    asked = (  # in the order of the sections
        Situation(classes=True, keeps=True),
        Situation(classes=True, keeps=False),
        Situation(classes=False, keeps=True, embeds=True),
        Situation(classes=False, keeps=True, labelled=True),
    )
    listed = [one.default for one in catalogue.SECTIONS if one.default]
    assert listed == [one.recommended().name for one in asked]


@dataclass(frozen=True, kw_only=True)
class Third(EraserMethod):
    """A method of another package."""

    name: ClassVar[str] = "third"
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})

    def fit(self, context):
        """Never called here."""
        raise NotImplementedError


def test_a_method_of_a_third_party_is_listed_apart(monkeypatch) -> None:
    monkeypatch.setattr(catalogue, "available", lambda: (*METHODS, Third))
    listed = CliRunner().invoke(app, ["methods"]).output
    assert "Other methods" in listed
    assert re.search(r"  third +`unspan methods`, completion", listed)


def test_methods_without_labels_stand_where_labels_are_not_needed() -> None:
    (alone,) = [one for one in catalogue.SECTIONS if "esc-t" in one.methods]
    assert all("retain" not in by_name(name)().needs for name in alone.methods)


def test_a_typing_error_is_answered_with_close_names() -> None:
    with pytest.raises(UsageError, match="Did you mean salun"):
        by_name("slaun")
    with pytest.raises(UsageError, match=r"Unknown method 'ghost'\. Methods: esc,"):
        by_name("ghost")


def test_names_are_completed_without_torch() -> None:
    assert catalogue.complete_method("neg") == ["neggrad", "neggrad-plus"]
    code = "import sys, unspan.cli\nassert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_version_is_the_one_of_the_package() -> None:
    said = CliRunner().invoke(app, ["--version"])
    assert said.exit_code == 0
    assert said.output.startswith(f"unspan {unspan.__version__}, torch ")
