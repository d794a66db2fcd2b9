"""What is mistyped in a spec is named before any work, with what was meant."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from unspan.benchmark.data import absence, opened
from unspan.benchmark.requests import refuse_unknown_classes
from unspan.benchmark.spec import load
from unspan.cli import app
from unspan.errors import UsageError

WHOLE = """
[[pair]]
data = "digits"
model = "python:unspan.zoo:DigitsCNN"
request = { classes = [3] }
train = { lr = 0.05, epochs = 1 }

[[method]]
name = "esc"
"""


def spec(tmp_path, text):
    file = tmp_path / "own.toml"
    file.write_text(text, "utf-8")
    return file


def test_a_mistyped_setting_of_training_is_named(tmp_path):
    file = spec(tmp_path, WHOLE.replace("epochs = 1", "epoks = 1"))
    with pytest.raises(UsageError, match="line 8: unknown key 'epoks' in train. Did you"):
        load(file)


@pytest.mark.parametrize("key", ["set = { ecs = { p = 2.0 } }", 'skip = ["ecs"]', 'once = ["ecs"]'])
def test_a_mistyped_method_of_a_budget_is_named(tmp_path, key):
    file = spec(tmp_path, WHOLE + f"[budget.cpu]\n{key}\n")
    with pytest.raises(UsageError, match="ecs"):
        load(file, "cpu")


def test_a_budget_may_name_methods_that_a_command_adds(tmp_path):
    file = spec(tmp_path, WHOLE + "[budget.cpu]\nset = { leace = { shrinkage = 0.1 } }\n")
    assert load(file, "cpu").rows


@pytest.mark.parametrize("name", ["digitz", "cifar1O"])
def test_a_mistyped_dataset_is_named_by_a_dry_run_and_by_a_run(tmp_path, name):
    assert "Did you mean" in absence(name, None)
    with pytest.raises(UsageError, match="Did you mean"):
        opened(name, None, None)
    file = spec(tmp_path, WHOLE.replace('"digits"', f'"{name}"'))
    options = ["bench", str(file), "--dry-run", "--out", str(tmp_path / "out")]
    assert "is not known" in CliRunner().invoke(app, options).output


@pytest.mark.parametrize("name", ["owner/name", "python:a:b", "data.csv", "digits"])
def test_what_only_opening_can_tell_is_not_called_unknown(name):
    assert absence(name, None) == ""


@pytest.mark.parametrize("request_", [{"classes": [44]}, {"steps": [[3], [44]]}])
def test_a_class_that_is_not_there_is_said_before_any_work(request_):
    with pytest.raises(UsageError, match="Class 44 is not one of the 10"):
        refuse_unknown_classes(opened("digits", None, None), request_)


def test_export_says_which_budgets_were_run(tmp_path):
    file = spec(tmp_path, WHOLE + "[budget.tiny]\nseeds = [0]\ntrials = 0\n")
    out, to = str(tmp_path / "out"), str(tmp_path / "arrays")
    ran = CliRunner().invoke(app, ["bench", str(file), "--budget", "tiny", "--out", out, "-q"])
    assert ran.exit_code == 0, ran.output
    found = CliRunner().invoke(app, ["bench", "export", str(file), "--to", to, "--out", out])
    assert "Computed there: --budget tiny" in " ".join(str(found.exception or found.output).split())
