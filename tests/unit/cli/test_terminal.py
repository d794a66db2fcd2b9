"""What a terminal of 80 columns shows: tables, wrapped words, and what a mistyped word meant."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.main import get_command

from unspan.audit_record.stored import read
from unspan.benchmark.estimates import Estimated
from unspan.cli import app, main, render
from unspan.errors import UsageError

AUDIT = Path(__file__).parents[2] / "data" / "audit-sample.json"


# ---- 80 columns ----------------------------------------------------------------------------------

LONG = "a class whose name is long, and goes on " * 3
ROW = {
    "split": "test",
    "label": None,
    "measure": "accuracy",
    "n": 1_281_167,
    "before": 1.0,
    "after": 1.0,
    "low": 1.0,
    "high": 1.0,
    "change": -1.0,
    "change_low": -1.0,
    "change_high": -1.0,
}


def accuracies(out):
    rows = [ROW | {"split": name} for name in ("checked worst class", "train retain", LONG)]
    render.accuracies(out, rows, None)


def trials(out):
    good = {"settings": {f"a_setting_{i}": 0.0001 for i in range(9)}, "error": ""}
    shares = {"rule": "forget-only", "forget": 1.0, "kept": 1.0, "score": 1.0, "seconds": 86_400.0}
    bad = {"settings": {}, "error": LONG, "forget": None, "kept": None, "score": -1.0}
    render.trials(out, [good | shares, bad | {"seconds": 1.0}])


def history(out):
    row = {"epoch": 1000, "loss": 123456789.0, "forget_accuracy": 1.0, "retain_accuracy": 1.0}
    render.history(out, [row | {"seconds": 86_400.0}, row])


def route_table(out):
    render.route_table(out, {LONG: "erased", "x": "original"})


def cells(out):
    cell = SimpleNamespace(seed=2, id="0123456789abcdef")
    row = SimpleNamespace(label=LONG, pair=LONG)
    known = Estimated(row, cell, "open", 86_400.0, guessed=True)
    render.cells(out, LONG, [known, Estimated(row, cell, "failed", None)])


def verdict(out):
    render.verdict(out, read(AUDIT), Path("a/folder/with/a/name"))


def facts(out):
    render.facts(out, LONG, [("commitment", "sha256:" + 64 * "0"), ("method", LONG)])
    render.bullets(out, "Notes", [LONG, LONG])


TABLES = [accuracies, trials, history, route_table, cells, verdict, facts]


@pytest.mark.parametrize("table", TABLES)
def test_a_terminal_of_80_columns_holds_every_table(table):
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    table(out)
    lines = out.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert not [one for one in lines if "…" in one]


def test_no_table_of_the_command_line_is_left_out():
    """A new function of `render` that makes a table must be rendered above."""
    import inspect

    made = {
        name
        for name, one in inspect.getmembers(render, inspect.isfunction)
        if "table(" in inspect.getsource(one) and name not in ("table", "route_table")
    }
    assert made - {"_attacks", "hanging"} <= {one.__name__ for one in TABLES}


def test_numbers_stay_in_one_line_and_words_are_not_cut():
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    accuracies(out)
    facts(out)
    said = out.file.getvalue()
    assert "-100.0 (-100.0 to -100.0)" in said and "100.0% to 100.0%" in said
    words = {word for one in said.splitlines() for word in one.split()}
    assert set(LONG.split()) <= words
    assert not words & {"cla", "lon"}
    indented = [one for one in said.splitlines() if one.startswith("    ")]
    assert indented, "further lines of a bullet begin below its first word"


def test_a_log_file_has_one_line_for_a_sentence():
    out = Console(file=io.StringIO(), width=80, soft_wrap=True)
    render.bullets(out, "Notes", [LONG])
    render.facts(out, "Plan", [("method", LONG)])
    assert [len(one) > 80 for one in out.file.getvalue().splitlines()] == [False, True, False, True]


def test_the_console_wraps_on_a_terminal_only(monkeypatch):
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal)
        assert render.console(quiet=False).soft_wrap is not terminal


@pytest.mark.parametrize(("rho", "shown"), [(-0.4, "0%"), (0.5, "50%"), (1.7, "100%")])
def test_a_recovered_part_is_between_nothing_and_all(rho, shown):
    record = read(AUDIT)
    first = replace(record.attacks[0], rho=rho)
    out = Console(file=io.StringIO(), width=80)
    render.verdict(out, replace(record, attacks=[first]), Path("audit"))
    assert f" {shown} {first.verdict.value.split()[0]}" in out.file.getvalue()


def test_shipped_specs_fit_80_columns(capsys, monkeypatch):
    assert run(monkeypatch, "bench", "list") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_errors_wrap_at_words_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(monkeypatch, "erase", *MODEL, "--method", "resampel") == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) > 1 and max(map(len, said)) <= 80
    assert "random-labels," in " ".join(said).split()


# ---- mistyped words ------------------------------------------------------------------------------

MODEL = ["--model", "python:unspan.zoo:DigitsCNN", "--data", "d", "--forget", "3", "--out", "o"]


def run(monkeypatch, *args) -> int:
    monkeypatch.setattr(sys, "argv", ["unspan", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def mistyped(name):
    """The name with its last two letters in the wrong order, or one of them lost."""
    swapped = name[:-2] + name[-1] + name[-2]
    return swapped if swapped != name else name[:-1]


def commands(group, before=()):
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield before, name, None
            yield from commands(one, (*before, name))
        else:
            yield before, name, one


COMMANDS = list(commands(get_command(app)))


@pytest.mark.parametrize(
    ("before", "name"), [(b, n) for b, n, _ in COMMANDS], ids=lambda one: str(one)
)
def test_a_mistyped_command_is_answered_with_the_right_one(monkeypatch, capsys, before, name):
    assert run(monkeypatch, *before, mistyped(name)) == 2
    said = capsys.readouterr().err
    assert "Did you mean" in said and name in said.partition("Did you mean")[2]


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ([*before, name], option)
        for before, name, one in COMMANDS
        if one is not None
        for parameter in one.params
        for option in parameter.opts
        if option.startswith("--")
    ],
    ids=lambda one: one if isinstance(one, str) else " ".join(one),
)
def test_a_mistyped_option_is_answered_with_the_right_one(monkeypatch, capsys, words, option):
    assert run(monkeypatch, *words, mistyped(option)) == 2
    said = capsys.readouterr().err
    assert option in said.partition("Did you mean")[2].replace("?", " ").split()


def test_an_option_in_capitals_is_recognised(monkeypatch, capsys):
    assert run(monkeypatch, "erase", "--Forget", "3") == 2
    assert "Did you mean --forget" in capsys.readouterr().err


def method_names():
    from unspan.methods import registered

    return [one.name for one in registered()]


@pytest.mark.parametrize("name", method_names())
def test_a_mistyped_method_is_answered_with_the_right_one(monkeypatch, capsys, name):
    for words in (["methods", mistyped(name)], ["erase", *MODEL, "--method", mistyped(name)]):
        assert run(monkeypatch, *words) == 2
        asked = capsys.readouterr().err.partition("Did you mean ")[2].partition("?")[0]
        assert name in asked.split(" or ")


def settings():
    from unspan.methods import registered
    from unspan.methods.settings import listed

    return [(one.name, name) for one in registered() for name, _ in listed(one) if len(name) > 2]


@pytest.mark.parametrize(("method", "setting"), settings())
def test_a_mistyped_setting_is_answered_with_the_right_one(monkeypatch, capsys, method, setting):
    words = ["erase", *MODEL, "--method", method, "--set", f"{mistyped(setting)}=1"]
    assert run(monkeypatch, *words) == 2
    asked = capsys.readouterr().err.partition("Did you mean ")[2].partition("?")[0]
    assert setting in asked.split(" or ")


def spec_names():
    from unspan.benchmark.spec import shipped

    return list(shipped())


@pytest.mark.parametrize("name", spec_names())
def test_a_mistyped_spec_is_answered_with_the_right_one(monkeypatch, capsys, name):
    assert run(monkeypatch, "bench", name[0] + name[2] + name[1] + name[3:]) == 2
    assert name in capsys.readouterr().err.partition("Did you mean ")[2].partition("?")[0]


@pytest.mark.parametrize("typed", ["dere", "Dear", "DERE ", "der"])
def test_a_mistyped_class_is_answered_with_the_right_one(typed):
    from unspan.data.selection import resolve_class

    with pytest.raises(UsageError, match="did you mean .*deer"):
        resolve_class(typed, ["cat", "deer", "dog"], 3, [0, 1, 2])
