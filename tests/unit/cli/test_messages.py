"""What the command line says of an error: its own options, and whose code failed."""

import sys
import warnings

import pytest
from torch import nn

from unspan import cli
from unspan.errors import UsageError
from unspan.training.context import _no_linear_head


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Name it with feature_layer='NAME'.", "Name it with --feature-layer NAME."),
        ("Choose another with feature_layer=.", "Choose another with --feature-layer."),
        (
            "use feature_layer='a:out' with pool='gap'.",
            "use --feature-layer a:out with --pool gap.",
        ),
        ("form='folded' needs one", "--form folded needs one"),
        ("--pool gap (pool='gap')", "--pool gap (--pool gap)"),
        ("platform='x'", "platform='x'"),
    ],
)
def test_arguments_of_python_are_options_on_the_command_line(text, said):
    assert cli._told(UsageError(text)) == (said, 2)


def test_a_last_layer_of_another_kind_is_named_with_what_to_do():
    model = nn.Sequential(nn.Conv2d(1, 2, 1))
    told = _no_linear_head(model, "0")
    assert "needs an nn.Linear as the last layer, and '0' of Sequential is a Conv2d" in told
    assert "ssd" in told and "feature_layer" not in told
    assert "feature_layer='NAME'" in _no_linear_head(model, None)


def test_code_of_the_user_that_fails_is_no_fault_to_report(tmp_path, monkeypatch):
    from unspan.system.user_code import user_object

    (tmp_path / "failing_code.py").write_text("def broken():\n    return 1 / 0\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ZeroDivisionError) as caught:
        user_object("python:failing_code.py:broken", "function")()
    told, code = cli._told(caught.value)
    assert told.startswith("your code failed in failing_code.py, line 2: ZeroDivisionError: ")
    assert code == 2 and "report it" not in told
    assert "report it" in cli._told(ZeroDivisionError("ours"))[0]


LOUD = """
import warnings
from dataclasses import dataclass
from typing import ClassVar

from unspan.methods import ESC

for _ in range(2):
    warnings.warn("look\\n out", {category}, stacklevel=1)
    warnings.resetwarnings()


@dataclass(frozen=True)
class Loud(ESC):
    name: ClassVar[str] = "loud"
"""
SPEC = """
[[pair]]
data = "digits"
model = "python:unspan.zoo:wide_digits"
request = { classes = [4] }
train = { lr = 3e-3, epochs = 1 }
[[method]]
name = "python:loud.py:Loud"
"""


def run(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["unspan", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("category", ["UserWarning", "FutureWarning", "RuntimeWarning"])
def test_a_warning_is_a_short_line_and_said_once(tmp_path, monkeypatch, capsys, category):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loud.py").write_text(LOUD.replace("{category}", category))
    (tmp_path / "g.toml").write_text(SPEC)
    shows = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert run(monkeypatch, "bench", "g.toml", "--dry-run") == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if "look" in line] == ["Warning: look out"]
    assert not [line for line in lines if "loud.py:" in line and "Warning" in line]
    assert warnings.showwarning is shows


@pytest.mark.parametrize("args", [[], ["bench"]])
def test_a_group_alone_shows_its_help_and_no_empty_error(monkeypatch, capsys, args):
    assert run(monkeypatch, *args) == 2
    told = capsys.readouterr()
    assert "Usage: " in told.out + told.err and "Error" not in told.err
