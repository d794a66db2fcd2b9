"""Methods of third parties in a grid, named `python:MODULE:FACTORY`."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from unspan.benchmark.cell import Bench
from unspan.benchmark.estimates import estimate
from unspan.benchmark.report import report
from unspan.benchmark.runner import record, work
from unspan.benchmark.spec import find, load
from unspan.benchmark.store import Store
from unspan.benchmark.third_party import code_of
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
FAILING = """

@dataclass(frozen=True)
class Failing(ESC):
    name: ClassVar[str] = "failing"

    def fit(self, context):
        raise RuntimeError("boom")
"""
EXAMPLES = Path(__file__).parents[3] / "examples"
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
        ("python:own_erasers.py:none", "has no none"),
        ("python:own_erasers.py:own", "Did you mean Own?"),
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


def test_a_failure_in_code_of_a_third_party_names_its_row_and_line(grid, tmp_path):
    path = grid("python:own_erasers.py:Failing", "")
    (tmp_path / "own_erasers.py").write_text(CODE + FAILING)
    path.write_text("seeds = [0]\n" + path.read_text())
    told, store = [], Store(tmp_path / "out")
    assert work(load(path, "smoke"), Bench(store, Run(batch_size=200)), told.append).failed == 1
    failing = CODE.count("\n") + FAILING[: FAILING.index("raise")].count("\n") + 1
    assert "[2/2] Own (seed 0) FAILED: RuntimeError: boom" in told[1]
    assert f"(own_erasers.py, line {failing})" in told[1]


RUINING = """
from dataclasses import dataclass
from typing import ClassVar

import torch

from unspan.erasers import LinearMap
from unspan.methods import EraserMethod, Fit, Outcome, TrainedMethod


@dataclass(frozen=True)
class Weights(TrainedMethod):
    name: ClassVar[str] = "weights"
    needs: ClassVar[frozenset] = frozenset({"forget"})
    value: ClassVar[float] = float("nan")

    def unlearn(self, context):
        with torch.no_grad():
            for weight in context.model.parameters():
                weight.fill_(self.value)
        return Outcome()


@dataclass(frozen=True)
class Overflow(Weights):
    name: ClassVar[str] = "overflow"
    value: ClassVar[float] = 1e30


@dataclass(frozen=True)
class Scores(Weights):
    # finite weights of the head, with which class scores are infinity minus infinity

    name: ClassVar[str] = "scores"

    def unlearn(self, context):
        with torch.no_grad():
            weight = [one for one in context.model.parameters() if one.ndim == 2][-1]
            weight[:, ::2] = 3e38
            weight[:, 1::2] = -3e38
        return Outcome()


@dataclass(frozen=True)
class Features(EraserMethod):
    name: ClassVar[str] = "features"
    needs: ClassVar[frozenset] = frozenset({"forget"})

    def fit(self, context):
        assert sum(len(z) for z, _ in context.forget)
        matrix = torch.full((context.dim, context.dim), float("nan"), dtype=torch.float64)
        return Fit(LinearMap(matrix))
"""


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("Weights", "weights: conv1.weight is infinite or NaN after the method ran"),
        ("Overflow", "python:ruining.py:Overflow ruined the network: it gives NaN or infinity"),
        ("Scores", "python:ruining.py:Scores ruined the network: it gives NaN or infinity"),
        ("Features", "python:ruining.py:Features ruined the network: it gives NaN or infinity"),
    ],
)
def test_a_method_that_makes_the_network_nan_is_blamed_and_not_a_sample(grid, tmp_path, name, what):
    path = grid(f"python:ruining.py:{name}")
    (tmp_path / "ruining.py").write_text(RUINING)
    told = []
    spec = replace(load(path, "smoke"), rows=load(path, "smoke").rows[1:])
    bench = Bench(Store(tmp_path / "out"), Run(batch_size=200))
    assert work(spec, bench, told.append).failed == len(told)
    assert what in told[0] and "Use weaker settings" in told[0]
    assert "sample" not in told[0] and "written" not in told[0]


@pytest.mark.parametrize("name", ["MeanDifference", "EvenGuess"])
def test_the_methods_of_the_examples_run_and_forget(grid, tmp_path, name):
    own = f"python:{EXAMPLES / 'own_methods.py'}:{name}"
    path = grid(own)
    path.write_text("seeds = [0]\n" + path.read_text().replace('"esc"', '"original"'))
    spec, store = load(path, "smoke"), Store(tmp_path / "out")
    record(store, spec, "")
    assert work(spec, Bench(store, Run(batch_size=200)), lambda line: None).failed == 0
    before, after = (store.read("cell", row.cells[0].id) for row in spec.rows)
    read = [one["steps"][-1]["values"]["D_ft"]["value"] for one in (before, after)]
    assert read[1] < read[0] - 5


def test_an_unknown_setting_names_the_line_too(grid):
    with pytest.raises(UsageError, match=r"line 10, method python:own_erasers\.py:Own: q does not"):
        load(grid("python:own_erasers.py:Own", "set = { q = 1 }\n"))


SEARCHED = """
from dataclasses import dataclass
from typing import ClassVar

from helper_of_mine import FACTOR
from unspan.methods import ESC


@dataclass(frozen=True)
class Mine(ESC):
    name: ClassVar[str] = "mine"
    search: ClassVar[dict] = {"p": (1.0, 3.0 * FACTOR)}
"""
TUNED = GRID.partition("\n[[method]]\n")[0].format() + '\n[[method]]\nname = "esc"\n'


@pytest.fixture
def searched(tmp_path, monkeypatch):
    """A folder with a method, a module that it uses, and a grid; another is the working one."""
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "mine.py").write_text(SEARCHED)
    (folder / "helper_of_mine.py").write_text("FACTOR = 1.0\n")
    (folder / "grid.toml").write_text(TUNED + "\n[budget.tuned]\ntrials = 2\n")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_a_method_of_the_command_line_gets_a_row_in_the_table_and_the_report(searched):
    spec = load(searched / "grid.toml", "tuned", added=[f"python:{searched}/mine.py:Mine", "esc"])
    assert [(row.label, row.added) for row in spec.rows] == [("esc", False), ("mine", True)]
    store, told = Store(Path("out")), []
    record(store, spec, "")
    assert work(spec, Bench(store, Run(batch_size=200)), told.append).failed == 0
    found = store.read("cell", spec.rows[1].cells[0].id)
    assert [trial["settings"] for trial in found["tuning"]] == [{"p": 1.0}, {"p": 3.0}]
    assert found["cell"]["method"] == "python:mine.py:Mine"
    written = [path.read_text() for path in Path("out").rglob("*.json")]
    assert not any(str(searched.parent) in text for text in written)
    report(store.root)
    assert "| mine |" in Path("out/report/grid.tuned-methods.md").read_text()
    record(store, load(searched / "grid.toml", "tuned"), "")
    assert [row["label"] for row in store.read("spec", "grid.tuned")["rows"]] == ["esc", "mine"]
    remains = load(searched / "grid.toml", "tuned", added=["leace"])
    for path in searched.glob("*.py"):
        path.unlink()
    assert [one[2] for one in estimate(remains, store)] == ["done", "open"], (
        "finished cells of code that is gone stand in nobody's way"
    )


def test_a_method_is_known_by_its_code_and_not_by_its_folder(searched, tmp_path):
    def found(folder: Path) -> str:
        for name in [one for one in sys.modules if "helper_of_mine" in one]:
            del sys.modules[name]
        name = f"python:{folder}/mine.py:Mine"
        return load(searched / "grid.toml", "tuned", added=[name]).rows[1].cells[0].id

    first = found(searched)
    moved = tmp_path / "elsewhere"
    shutil.copytree(searched, moved)
    assert found(moved) == first
    (moved / "mine.py").write_text(SEARCHED + "\n# other\n")
    changed = found(moved)
    (searched / "helper_of_mine.py").write_text("FACTOR = 2.0\n")
    assert len({first, changed, found(searched)}) == 3


def test_a_file_beside_the_spec_is_found_and_a_change_during_the_run_is_refused(searched):
    path = searched / "grid.toml"
    path.write_text(TUNED.replace('"esc"', '"python:mine.py:Mine"'))
    spec = load(path)
    (searched / "mine.py").write_text(SEARCHED + "\n# changed\n")
    told = []
    assert work(spec, Bench(Store(Path("out")), Run(batch_size=200)), told.append).failed == 3
    assert "changed since this run read it" in told[0]


def test_methods_of_unspan_have_no_code_of_their_own_in_a_cell():
    assert code_of("esc") == code_of("original") == ""
    assert "code" not in load(find("table1a"), "smoke").cells()[3].record()
