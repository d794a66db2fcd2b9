"""Methods of third parties in a grid, named `python:MODULE:FACTORY`."""

from __future__ import annotations

import pytest

from unspan.benchmark.cell import Bench
from unspan.benchmark.runner import record, work
from unspan.benchmark.spec import load
from unspan.benchmark.store import Store
from unspan.errors import UsageError
from unspan.run import Run

CODE = """
from dataclasses import dataclass
from typing import ClassVar

from unspan.methods import ESC


@dataclass(frozen=True)
class Own(ESC):
    name: ClassVar[str] = "own"


def make():
    return Own


def broken():
    raise RuntimeError("no licence")


@dataclass(frozen=True)
class Bare:
    name: ClassVar[str] = "bare"


number = 3
"""
GRID = """[[pair]]
data = "digits"
model = "python:unspan.zoo:wide_digits"
request = {{ classes = [4] }}
train = {{ lr = 3e-3, epochs = 1, optimiser = "adam", weight_decay = 0.0 }}

[[method]]
name = "esc"

[[method]]
name = "{name}"
label = "Own"
"""


@pytest.fixture
def grid(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_erasers.py").write_text(CODE)

    def written(name: str, more: str = ""):
        path = tmp_path / "grid.toml"
        path.write_text(GRID.format(name=name) + more)
        return path

    return written


@pytest.mark.parametrize("name", ["python:own_erasers.py:Own", "python:own_erasers.py:make"])
def test_a_grid_computes_the_method_of_a_third_party(grid, tmp_path, name):
    spec = load(grid(name, "set = { p = 2.0 }\n"))
    store = Store(tmp_path / "out")
    record(store, spec, "")
    assert work(spec, Bench(store, Run(batch_size=200)), lambda line: None).failed == 0
    found = store.read("cell", spec.rows[1].cells[0].id)
    assert found["settings"].startswith("Own(") and "p=2.0" in found["settings"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:own_erasers.py:none", "cannot be imported"),
        ("python:missing_module:Own", "cannot be imported"),
        ("python:own_erasers.py", "names no class"),
        ("python:own_erasers.py:broken", "no licence"),
        ("python:own_erasers.py:Bare", "derives from"),
        ("python:own_erasers.py:number", "derives from"),
        ("python:dataclasses:field", "derives from"),
        ("unknown", "Unknown method"),
    ],
)
def test_what_is_wrong_is_said_with_the_line_of_the_method(grid, name, message):
    with pytest.raises(UsageError, match=r"grid\.toml, line 10, method") as error:
        load(grid(name))
    assert message in str(error.value)


def test_an_unknown_setting_names_the_line_too(grid):
    with pytest.raises(UsageError, match=r"line 10, method python:own_erasers\.py:Own: q does not"):
        load(grid("python:own_erasers.py:Own", "set = { q = 1 }\n"))
