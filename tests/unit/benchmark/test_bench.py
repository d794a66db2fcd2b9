"""The benchmark: what a spec says, cells computed once, runs that are killed, tables that are views
of cells.
"""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from browser import BINARY, Browser

from unspan.benchmark import store as stores
from unspan.benchmark.cell import Bench
from unspan.benchmark.estimates import estimate, state
from unspan.benchmark.figures import alternative
from unspan.benchmark.grid import Cell
from unspan.benchmark.report import filled, report
from unspan.benchmark.runner import own_cells, record, work
from unspan.benchmark.spec import check_given, find, load, printed, shipped
from unspan.benchmark.spec_text import KINDS
from unspan.benchmark.store import Store
from unspan.benchmark.table_values import Column, Fold, Line, Number, Table
from unspan.benchmark.tables import comma_separated, escaped, latex, markdown
from unspan.benchmark.views import CLASS, TABLES, VIEWS
from unspan.cli import main
from unspan.errors import OutputError, UsageError
from unspan.methods import METHODS
from unspan.metrics.retention import harmonic_mean
from unspan.metrics.unlearning import avg_gap
from unspan.run import Run

SMALL = """
title = "Two methods"
view = ["methods", "pareto", "runtime", "recovery", "weights", "cosines", "zrf"]
paper = "table1a"
seeds = [0, 1]
[[pair]]
data = "digits"
model = "python:unspan.zoo:wide_digits"
request = { classes = [4] }
train = { lr = 3e-3, epochs = 3, optimiser = "adam", weight_decay = 0.0 }
[[method]]
name = "original"
[[method]]
name = "retrain"
[[method]]
name = "esc"
[[method]]
name = "neggrad"
set = { lr = 1e-3, epochs = 1 }
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder with the cells of the small spec."""
    root = tmp_path_factory.mktemp("bench")
    path = root / "small.toml"
    path.write_text(SMALL)
    spec, told = load(path), []
    store = Store(root / "out")
    record(store, spec, "unspan bench small.toml")
    tally = work(spec, Bench(store, Run(batch_size=200)), told.append)
    assert tally.done == tally.total == 6 and tally.failed == 0
    return spec, store, told


# What a spec says


@pytest.mark.parametrize("budget", ["smoke", "cpu", "full", "paper"])
@pytest.mark.parametrize("name", sorted(shipped()))
def test_every_shipped_spec_is_whole(name, budget):
    spec = load(find(name), budget)
    assert spec.cells() and spec.title
    rows = printed()[spec.paper] if spec.paper else {}
    assert not spec.paper or {row.paper for row in spec.rows} & set(rows)
    for row in spec.rows:
        assert len({cell.id for cell in row.cells}) == len(row.cells)


def test_the_example_is_whole_and_every_key_is_documented():
    root = Path(__file__).parents[3]
    assert (
        len(load(root / "examples/grid.toml", "quick").cells()),
        len(load(root / "examples/grid.toml").cells()),
    ) == (8, 12)
    text = (root / "docs/benchmark.md").read_text("utf-8")
    for keys in KINDS.values():
        assert all(f"`{key}`" in text for key in keys if key not in ("pair", "method", "budget")), (
            keys
        )
    assert all(f"`{view}`" in text for view in VIEWS)


@pytest.mark.parametrize("budget", ["cpu", "full"])
def test_figures_and_tables_share_their_cells(budget):
    table = {cell.id for cell in load(find("table1a"), budget).cells()}
    for name in ("figure1", "figure2", "figure3", "figure5", "zrf"):
        assert {cell.id for cell in load(find(name), budget).cells()} <= table, name


def test_at_full_budget_requests_of_several_classes_skip_no_method():
    for name in ("classes", "incremental", "table5"):
        named = re.findall(r'^name = "([\w-]+)"$', find(name).read_text("utf-8"), re.M)
        spec = load(find(name), "full")
        methods = {row.method for row in spec.rows}
        assert methods == set(named) & ({"original", "retrain"} | {one.name for one in METHODS})
        assert not {one.retain for one in spec.cells()} - {None}
    asked = {str(one.request) for one in load(find("classes"), "full").cells()}
    assert asked == {str({"classes": one}) for one in ([4], [4, 0], [4, 0, 8])}


@pytest.mark.parametrize("budget", ["smoke", "cpu", "full"])
def test_a_table_of_samples_holds_out_what_dlfd_chooses_by(budget):
    cells = load(find("table5"), budget).cells()
    assert {one.holdout for one in cells} == {0.1}
    assert "dlfd" in {one.method for one in cells}


def test_a_spec_takes_what_it_does_not_give_from_its_base(tmp_path):
    base, own = find("table1a"), tmp_path / "own.toml"
    pair = '[[pair]]\ndata = "digits"\nmodel = "m"\nrequest = { classes = [1] }\n'
    own.write_text('base = "table1a"\nonly = ["esc", "lau"]\n' + pair)
    found = load(own, "full")
    assert [row.label for row in found.rows] == ["lau", "esc"] and found.rows[0].pair == "digits, m"
    theirs = {row.label: row.cells[0].settings for row in load(base, "cpu").rows}
    assert all(row.cells[0].settings == theirs[row.label] for row in load(own, "cpu").rows)
    own.write_text('base = "table1a"\n[budget.cpu]\nseeds = [5]\n' + pair)
    assert {one.seed for one in load(own, "cpu").cells() if one.method == "esc"} == {5}
    assert not {one.trials for one in load(own, "smoke").cells()} - {0}
    own.write_text('base = "table1a"\nonly = ["esc"]\n[[method]]\nname = "lau"\nlabel = "mine"\n')
    assert [row.label for row in load(own, "smoke").rows] == ["esc", "mine"], "own rows are added"
    own.write_text('base = "table1a"\n[[method]]\nname = "lau"\nset = { radius = -1.0 }\n')
    with pytest.raises(UsageError, match=r"own.toml, line 2, method lau"):
        load(own, "smoke")
    own.write_text('base = "figure1"\n' + pair)
    with pytest.raises(UsageError, match="has a base itself"):
        load(own)
    own.write_text('base = "tabel1a"\n' + pair)
    with pytest.raises(UsageError, match="Did you mean table1a"):
        load(own)


def test_the_name_of_a_cell_is_stable_and_depends_on_everything():
    cell = Cell(data="digits", model="m", train={"lr": 0.1}, request={"classes": [4]}, method="esc")
    assert cell.id == "7af97b538679a23b"
    others = {
        "data": "x",
        "model": "x",
        "train": {},
        "request": {"share": 0.1},
        "retain": 5,
        "holdout": 0.1,
        "method": "lau",
        "settings": {"p": 2},
        "trials": 1,
        "seed": 1,
        "pictures": ("tsne",),
        "weights": {"original": "x"},
        "tune_retain": 5,
        "code": "x",
    }
    assert set(others) == set(asdict(cell))
    assert len(
        {cell.id, *(replace(cell, **{name: value}).id for name, value in others.items())}
    ) == 1 + len(others)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "esc"', 'name = "ecs"', "Unknown method 'ecs'"),
        ("lr = 1e-3, epochs", "learning = 1, epochs", "learning does not belong to method neggrad"),
        *(
            ("request = { classes = [4] }", f"request = {{ {wrong} }}", "a request is one of")
            for wrong in (
                "klass = 4",
                "classes = 4",
                "classes = []",
                'classes = ["deer"]',
                "classes = [4, 4]",
                "classes = [4.0]",
                "share = -0.5",
                "share = 1.0",
                "share = nan",
                "share = 1",
                "steps = [4]",
                "steps = [[4], []]",
                "steps = [[4], [4]]",
                "benchmark = false",
                "",
            )
        ),
        ("request = { classes = [4] }", 'request = "deer"', "must be a table"),
        *(
            ("seeds = [0, 1]", f"seeds = {wrong}", "different whole numbers")
            for wrong in ("3", "[]", "[0, 0]", '["a"]', "[0.5]", "[-1]", "[true]")
        ),
        *(
            ("seeds = [0, 1]", wrong, "must be")
            for wrong in (
                "holdout = 1.0",
                "holdout = -1",
                'holdout = "x"',
                'pictures = ["foo"]',
                "note = 3",
            )
        ),
        ('view = ["methods"', 'view = ["table"', "must be a list of views"),
        (
            'view = ["methods", "pareto", "runtime", "recovery", "weights", "cosines", "zrf"]',
            "view = 3",
            "must be a list of views",
        ),
        ('paper = "table1a"', 'paper = "table9"', "has no printed values"),
        ('data = "digits"', "data = 3", "must be a text"),
        ("[[method]]", "[method]", "cannot be read as TOML|must be tables"),
        ("[[pair]]", "[pair]", r"write \[\[pair\]\], with two brackets, in place of \[pair\]\.$"),
        ("set = { lr = 1e-3, epochs = 1 }", "set = [1]", "must be a table"),
        ("set = { lr = 1e-3, epochs = 1 }", "set = { lr = -1.0 }", "must be positive"),
        ("seeds = [0, 1]", "budget = [1]", "must be a table"),
        ("seeds = [0, 1]", "budget.paper = 3", "must be a table"),
        *(
            ("seeds = [0, 1]", f"budget.paper.{wrong}", "budget paper of own.toml")
            for wrong in (
                "retain = 0",
                "retain = -5",
                'retain = "x"',
                "trials = -1",
                'once = ["ecs"]',
                "pair = 3",
                "set.esc = 3",
                "set = 3",
            )
        ),
        (
            "seeds = [0, 1]",
            'budget.paper.skip = ["original", "retrain", "esc", "neggrad"]',
            "skips every method",
        ),
        ('title = "Two', 'titel = "Two', r"unknown key 'titel'\. Did you mean title\?"),
        ("seeds = [0, 1]", 'budget.paper.once = ["esc", "ecs"]', "'ecs' is none. Did you mean esc"),
        ("view = [", 'view = ["metods", ', "'metods' is none. Did you mean methods"),
        (
            "[[method]]",
            "[[method]]\nname = 'esc'\n\n[[method]]\nname = 'esc'\n\n[[method]]",
            "a row 'esc' already",
        ),
        ("epochs = 3,", "epochs = 0,", "must be positive"),
        ("[[pair]]", "[[pairs]]", "unknown key 'pairs'"),
        ("[[pair]]", "[[pair", "cannot be read as TOML"),
    ],
)
def test_a_wrong_spec_says_where(tmp_path, old, new, message):
    path = tmp_path / "own.toml"
    path.write_text(SMALL.replace(old, new, 1))
    with pytest.raises(UsageError, match=message) as found:
        load(path)
    assert "own.toml" in str(found.value)


def test_unknown_specs_and_budgets_are_named():
    with pytest.raises(UsageError, match="table1a"):
        find("table9")
    with pytest.raises(UsageError, match="smoke"):
        load(find("table1a"), "gpu")


# Cells


def test_a_second_run_computes_nothing_and_a_lost_cell_alone(ran):
    spec, store, told = ran
    assert len(told) == 6
    before = {path: path.stat().st_mtime_ns for path in (store.root / "cells").iterdir()}
    again = []
    work(spec, Bench(store, Run(batch_size=200)), again.append)
    assert again == [] and before == {
        path: path.stat().st_mtime_ns for path in (store.root / "cells").iterdir()
    }
    lost = store.path("cell", spec.rows[2].cells[1].id)
    old = json.loads(lost.read_text())
    lost.unlink()
    work(spec, Bench(store, Run(batch_size=200)), again.append)
    new = json.loads(lost.read_text())
    assert len(again) == 1 and "esc (seed 1)" in again[0]
    assert new["steps"][0]["values"] == old["steps"][0]["values"], (
        "the same cell gives the same numbers"
    )


def test_values_are_what_they_say(ran):
    spec, store, _ = ran
    values = store.read("cell", spec.rows[2].cells[0].id)["steps"][-1]["values"]
    for forget, retain, both in (
        ("D_f", "D_r", "HM"),
        ("D_ft", "D_rt", "HM_t"),
    ):
        assert values[both]["value"] == pytest.approx(
            harmonic_mean(values[forget]["value"], values[retain]["value"])
        )
        starts = [values[f"KR {name}"]["seeds"] for name in (forget, retain, both)]
        assert len(starts[0]) == 3
        for left, kept, mean in zip(*starts, strict=True):
            assert mean == pytest.approx(harmonic_mean(left, kept))
        assert values[f"KR {both}"]["value"] == pytest.approx(statistics.fmean(starts[2]))
    attackers = (
        "probe",
        "MLP",
        "kNN-1",
        "kNN-5",
        "kNN-20",
        "probe, ten views",
        "answer, ten views",
    )
    assert values["strongest"]["value"] == max(values[name]["value"] for name in attackers)
    wrong = values["false positives"]
    assert 0 <= wrong["low"] <= wrong["value"] <= wrong["high"] < 50
    of_views = "views" in values["strongest"]["attack"]
    assert wrong["n"] == (min(250, values["D_rt"]["n"]) if of_views else values["D_rt"]["n"])
    original, retrained = (
        store.read("cell", spec.rows[i].cells[0].id)["steps"][-1]["values"] for i in (0, 1)
    )
    assert (
        original["D_ft"]["value"] > 90 > 10 > retrained["D_ft"]["value"]
        and values["D_ft"]["value"] < 30
    )


def test_a_cell_that_fails_does_not_end_the_run(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        SMALL.replace('name = "esc"\n', 'name = "esc"\nset = { rank = 500 }\n').replace(
            "seeds = [0, 1]", "seeds = [0]"
        )
    )
    spec, store, told = load(path), Store(tmp_path / "out"), []
    tally = work(spec, Bench(store, Run(batch_size=200)), told.append)
    assert (tally.done, tally.failed) == (3, 1)
    assert any("FAILED" in line and "rank" in line for line in told)
    record(store, spec, "")
    assert "rank" in markdown(
        TABLES["methods"]("own", "t", filled(store, store.read("spec", "own.paper")))[0]
    )
    assert work(spec, Bench(store, Run()), told.append).failed == 1 and len(told) == 4, (
        "a failed cell is not tried again unasked"
    )
    work(spec, Bench(store, Run()), told.append, again=True)
    assert len(told) == 5


def test_scores_of_two_models_stand_beside_the_probe(ran):
    spec, store, _ = ran
    steps = [store.read("cell", row.cells[0].id)["steps"][-1] for row in spec.rows]
    own = steps[0]["beside"]  # the original, against itself
    assert own["RUS"]["value"] == pytest.approx(0, abs=1e-6)
    assert own["AUS"]["value"] == pytest.approx(1 / (1 + steps[0]["values"]["D_ft"]["value"] / 100))
    for one in steps:
        assert 0 <= one["values"]["nearest rank"]["value"] <= 1
        assert one["values"]["probe"]["value"] is not None and "RUS" in one["beside"]
    keys = [column.key for column in CLASS]
    assert keys.index("RUS") == keys.index("probe") + 1
    table = TABLES["methods"]("own", "t", filled(store, store.read("spec", "small.paper")))[0]
    values = [line.numbers["RUS"].mean for line in table.lines]
    assert min(values) == pytest.approx(0, abs=1e-6)
    assert 1e-6 < max(values) <= 1


def test_the_estimate_knows_what_ran(ran):
    spec, store, _ = ran
    assert {one.state for one in estimate(spec, store)} == {"done"}
    more = replace(
        spec, rows=tuple(replace(row, cells=(replace(row.cells[0], seed=7),)) for row in spec.rows)
    )
    assert all(one.state == "open" and one.seconds for one in estimate(more, store))
    assert [one.seconds for one in estimate(spec, Store(store.root / "empty"))] == [None] * 6


# Claims


def test_a_claim_is_held_by_one_and_released(tmp_path):
    store = Store(tmp_path)
    with store.claim("cell", "a") as first, store.claim("cell", "a") as second:
        assert first and not second
    with store.claim("cell", "a") as third:
        assert third
    assert not list(tmp_path.rglob("*.claim"))


def test_the_claim_of_a_dead_process_is_taken_over(tmp_path):
    store = Store(tmp_path)
    dead = subprocess.Popen([sys.executable, "-c", "pass"])
    dead.wait()
    path = store.path("cell", "a", ".claim")
    path.parent.mkdir()
    path.write_text(f"{stores.socket.gethostname()} {dead.pid} x\n")
    with store.claim("cell", "a") as mine:
        assert not mine, "not before it missed some beats"
    os.utime(path, (time.time() - 3 * stores.BEAT - 1,) * 2)
    with store.claim("cell", "a") as mine:
        assert mine


def test_a_silent_claim_of_another_machine_is_taken_over_and_a_fresh_one_is_not(tmp_path):
    store = Store(tmp_path)
    path = store.path("cell", "a", ".claim")
    path.parent.mkdir()
    path.write_text("elsewhere 1\n")
    with store.claim("cell", "a") as mine:
        assert not mine
    os.utime(path, (time.time() - stores.STALE - 5,) * 2)
    with store.claim("cell", "a") as mine:
        assert mine


def test_the_claim_of_a_paused_process_is_left_alone(tmp_path):
    store = Store(tmp_path)
    path = store.path("cell", "a", ".claim")
    path.parent.mkdir()
    path.write_text(f"{stores.socket.gethostname()} {os.getppid()}\n")
    os.utime(path, (time.time() - stores.STALE - 5,) * 2)
    with store.claim("cell", "a") as mine:
        assert not mine


def _grab(root, barrier, won):
    store = Store(root)
    barrier.wait()
    for number in range(40):
        with store.claim("cell", str(number)) as mine:
            if mine and store.read("cell", str(number)) is None:
                won.put(number)
                time.sleep(0.001)
                store.write("cell", str(number), {"cell": {}, "steps": [], "by": os.getpid()})


def test_processes_that_race_compute_every_cell_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, won = context.Barrier(4), context.Queue()
    racers = [context.Process(target=_grab, args=(tmp_path, barrier, won)) for _ in range(4)]
    for one in racers:
        one.start()
    numbers = [won.get(timeout=60) for _ in range(40)]
    for one in racers:
        one.join(60)
    assert sorted(numbers) == list(range(40)) and won.empty()


def _command(tmp_path, *more):
    return [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "unspan",
        "bench",
        str(tmp_path / "own.toml"),
        "--out",
        str(tmp_path / "out"),
        *more,
    ]


def test_two_commands_share_the_work_and_a_killed_one_is_made_good(tmp_path):
    (tmp_path / "own.toml").write_text(SMALL)
    killed = subprocess.Popen(_command(tmp_path), stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob("cells/*.json")):
        assert killed.poll() is None, killed.stderr.read()
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert len(list((tmp_path / "out").glob("cells/*.json"))) < 6
    both = [
        subprocess.Popen(_command(tmp_path), stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    told = [one.communicate(timeout=200)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert len(list((tmp_path / "out").glob("cells/*.json"))) == 6
    computed = [
        line.partition("]")[0]
        for text in told
        for line in text.splitlines()
        if line.startswith("[")
    ]
    assert len(computed) == len(set(computed)) <= 6


def test_an_interrupt_keeps_the_cells(tmp_path):
    (tmp_path / "own.toml").write_text(SMALL)
    one = subprocess.Popen(_command(tmp_path), stderr=subprocess.PIPE, text=True)
    while not list((tmp_path / "out").glob("cells/*.json")):
        time.sleep(0.05)
    one.send_signal(signal.SIGTERM)
    told = one.communicate(timeout=60)[1]
    assert one.returncode == 9 and "the same command goes on from there" in told


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        Store(tmp_path / "file").write("cell", "a", {})


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cell": {}}', '"x"'])
def test_a_damaged_cell_counts_as_not_there(tmp_path, text):
    store, cell = (
        Store(tmp_path),
        Cell(data="digits", model="m", train={}, request={"classes": [1]}, method="esc"),
    )
    store.path("cell", cell.id).parent.mkdir()
    store.path("cell", cell.id).write_text(text)
    assert store.read("cell", cell.id) is None and state(store, cell) == "open"


def test_one_network_does_not_stand_for_several():
    both = [load(find(name), "smoke", {"original": ["0" * 64]}) for name in ("table1a", "table5")]
    check_given(both, {"original": ["0" * 64]})
    with pytest.raises(UsageError, match="--retrained is one network, and these specs ask for 2"):
        check_given(both, {"retrain": ["0" * 64]})
    with pytest.raises(UsageError, match="--original is one network"):
        check_given([load(find("table1a")), load(find("fashion"))], {"original": ["0" * 64]})


def test_two_specs_of_one_name_do_not_share_a_folder(ran, tmp_path):
    spec, store, _ = ran
    with pytest.raises(UsageError, match="rename the file"):
        record(store, replace(spec, title="Another"), "")


def test_a_claim_without_a_living_owner_counts_as_open(tmp_path):
    store = Store(tmp_path)
    cell = Cell(data="digits", model="m", train={}, request={"classes": [1]}, method="esc")
    with store.claim("cell", cell.id):
        assert state(store, cell) == "claimed"
        path = store.path("cell", cell.id, ".claim")
        os.utime(path, (time.time() - stores.PAUSED - 60,) * 2)
        assert state(store, cell) == "open"


def test_two_who_find_the_same_dead_claim_do_not_both_get_it(tmp_path, monkeypatch):
    """The one that is late must not move the claim of the one that was faster."""
    store = Store(tmp_path)
    path = store.path("cell", "a", ".claim")
    path.parent.mkdir()
    path.write_text("elsewhere 1 x\n")
    os.utime(path, (time.time() - stores.STALE - 5,) * 2)
    real, late = stores._is_stale, []

    def slow(file, owner):
        found = real(file, owner)
        if not late:
            late.append(store.claim("cell", "a"))
            assert late[0].__enter__(), (
                "the faster one takes the dead claim while this one still thinks"
            )
        return found

    monkeypatch.setattr(stores, "_is_stale", slow)
    with store.claim("cell", "a") as mine:
        assert not mine
    assert path.exists(), "the claim of the faster one stands"
    late[0].__exit__(None, None, None)
    assert not path.exists()


def test_a_claim_that_passed_on_is_not_removed_by_its_first_owner(tmp_path):
    store = Store(tmp_path)
    path = store.path("cell", "a", ".claim")
    with store.claim("cell", "a") as mine:
        assert mine
        path.write_text("elsewhere 1 y\n")
    assert path.read_text() == "elsewhere 1 y\n"


# Tables and figures


def test_what_the_paper_prints_agrees_with_itself():
    """HM and HM_t of every line of Table 1, and the average gap of Table 5, from the other printed
    cells.
    """
    close = total = 0
    for name in ("table1a", "table1b", "table1c"):
        for row in printed()[name].values():
            for pre in ("", "KR "):
                for forget, retain, both in (("D_f", "D_r", "HM"), ("D_ft", "D_rt", "HM_t")):
                    gap = abs(
                        harmonic_mean(row[pre + forget][0], row[pre + retain][0])
                        - row[pre + both][0]
                    )
                    assert gap < 0.1 or pre + both in row["doubtful"], (name, pre + both, gap)
                    close, total = close + (gap <= 0.03), total + 1
    assert (close, total) == (133, 140) or (close >= 132 and total == 140)
    table = printed()["table5"]
    names = ("D_f", "D_r", "D_t", "member rate")
    for name, row in table.items():
        if name != "retrain":
            assert avg_gap(
                {key: row[key][0] for key in names},
                {key: table["retrain"][key][0] for key in names},
            ).value == pytest.approx(row["Avg Gap"][0], abs=0.0051), name


def test_tables_are_means_over_the_cells(ran):
    spec, store, _ = ran
    (table,) = TABLES["methods"](
        "small", spec.title, filled(store, store.read("spec", "small.paper"))
    )
    line = table.lines[3]
    values = [
        store.read("cell", cell.id)["steps"][-1]["values"]["D_rt"]["value"]
        for cell in spec.rows[3].cells
    ]
    assert (line.label, line.needs_retain, line.seeds) == ("neggrad", False, 2)
    one = line.numbers["D_rt"]
    assert (one.mean, one.std, one.printed) == (
        pytest.approx(statistics.fmean(values)),
        pytest.approx(statistics.stdev(values)),
        75.83,
    )
    found = {
        (row["label"], row["column"]): row
        for row in csv.DictReader(io.StringIO(comma_separated(table)))
    }
    assert float(found["neggrad", "D_rt"]["difference"]) == pytest.approx(
        one.mean - 75.83, abs=1e-6
    )
    text = markdown(table)
    assert f"75.83 ({one.mean - 75.83:+.1f})" in text and "✗" in text


def test_best_is_bold_second_underlined_and_references_take_no_part():
    columns = (Column("a", "D_f", "lower"), Column("b", "HM_t", "higher"), Column("c", "MIA"))
    numbers = {
        "original": (0.0, 99.0, 1.0),
        "x_1": (1.0, 50.0, 1.0),
        "y & z": (2.0, 60.0, 1.0),
        "w": (3.0, 40.0, 1.0),
    }
    lines = tuple(
        Line(
            name,
            name if name == "original" else "esc",
            None if name == "original" else True,
            "p",
            {
                c.key: Number(v, 0.5 if v == 2.0 else None)
                for c, v in zip(columns, row, strict=True)
            },
            1,
            1,
        )
        for name, row in numbers.items()
    )
    table = Table("t", "T", columns, lines)
    body = markdown(table).splitlines()[4:]
    assert body[0] == "| original |  | 1 | 0.0 | 99.0 | 1.0 |"
    assert body[1] == "| x_1 | ✓ | 1 | **1.0** | <u>50.0</u> | 1.0 |"
    assert body[2] == "| y & z | ✓ | 1 | <u>2.0 ± 0.5</u> | **60.0** | 1.0 |"
    rows = latex(table).splitlines()
    assert r"x\_1 & \checkmark & \textbf{1.0} & \underline{50.0} & 1.0 \\" in rows
    assert (
        r"y \& z & \checkmark & \underline{2.0{\scriptsize$\pm$0.5}} & \textbf{60.0} & 1.0 \\"
        in rows
    )
    assert "$D_{f}$ $\\downarrow$ & $HM_{t}$ $\\uparrow$ & MIA" in latex(table)


def test_the_report_draws_everything(ran):
    spec, store, _ = ran
    files = report(store.root)
    names = {path.name for path in files}
    assert {
        "README.md",
        "leaderboard.html",
        "small.paper-methods.md",
        "small.paper-methods.csv",
        "small.paper-zrf.tex",
        "small.paper-pareto.svg",
        "small.paper-pareto.pdf",
        "small.paper-runtime.svg",
        "small.paper-recovery.svg",
        "small.paper-weights-layers.svg",
        "small.paper-cosines.svg",
    } <= names
    assert all(path.stat().st_size > 300 for path in files)
    page = (store.root / "report/README.md").read_text()
    assert "Cells: 6 of 6" in page and "Two methods" in page
    for path in files:
        if path.suffix == ".svg":
            assert "esc" in path.read_text(), path.name
            assert f"![{escaped(alternative(path))}]" in page, path.name
    with pytest.raises(UsageError, match="known: small.paper"):
        report(store.root, ["other"])


CLASSES = tuple(one.key for one in CLASS if one.fold is Fold.OPEN)


def test_what_decides_stands_first_and_the_published_probe_last():
    assert CLASSES == ("strongest", "false positives", "D_ft", "D_rt", "seconds")
    folds = [one.fold for one in CLASS]
    assert folds == sorted(folds, key=list(Fold).index)
    assert {one.fold for one in CLASS if one.key.startswith("KR")} == {Fold.KR}


@pytest.mark.skipif(BINARY is None, reason="needs Chromium (Debian package chromium)")
def test_the_leaderboard_sorts_stays_inside_and_loads_nothing(ran):
    _, store, _ = ran
    report(store.root)
    page = store.root / "report/leaderboard.html"
    browser = Browser()
    try:
        for width in (390, 1280):
            browser.open(page, width, 800)
            assert browser.js(
                "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            ), width
            assert browser.requests() == [page.resolve().as_uri()]
        place = 1 + CLASSES.index("D_rt")
        read = (
            "[...document.querySelector('tbody').rows].map(r =>"
            f" Number(r.children[{place}].dataset.value))"
        )
        plain = browser.js(read)
        browser.js(
            "document.querySelectorAll('thead"
            f" tr')[0].children[{place}].querySelector('button').click()"
        )
        assert browser.js(read) == sorted(plain, reverse=True)
        browser.js(
            "document.querySelectorAll('thead"
            f" tr')[0].children[{place}].querySelector('button').click()"
        )
        assert browser.js(read) == sorted(plain)
        assert (
            browser.js(
                "document.querySelectorAll('thead"
                f" tr')[0].children[{place}].getAttribute('aria-sort')"
            )
            == "ascending"
        )
        assert not [
            one
            for one in browser.events
            if one.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown")
        ]
    finally:
        browser.close()


def test_states_are_named(tmp_path):
    store, cell = (
        Store(tmp_path),
        Cell(data="digits", model="m", train={}, request={"classes": [1]}, method="esc"),
    )
    assert state(store, cell) == "open"
    with store.claim("cell", cell.id):
        assert state(store, cell) == "claimed"
    store.write("cell", cell.id, {"error": "x"})
    assert state(store, cell) == "failed"
    store.write("cell", cell.id, {"cell": {}, "steps": []})
    assert state(store, cell) == "done"


# The command


def bench(capsys, *args):
    """Exit code and what the command says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["unspan", "bench", *map(str, args)])
        with pytest.raises(SystemExit) as end:
            main()
    told = capsys.readouterr()
    return end.value.code, told.out, told.err


def test_the_specs_are_listed(capsys):
    code, out, _ = bench(capsys, "list")
    first = [line.split()[0] for line in out.splitlines() if not line.startswith(" ")]
    assert code == 0 and first == list(shipped())


def test_a_dry_run_says_which_data_are_missing(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("UNSPAN_DATA", raising=False)
    (tmp_path / "none").mkdir()
    for name, told in (("cifar100-resnet56", "uoft-cs/cifar100 on the hub"), ("lfw62", "not here")):
        code, _, err = bench(
            capsys, name, "--dry-run", "--out", tmp_path / "o", "--data-root", tmp_path / "none"
        )
        assert code == 0 and told in err and str(tmp_path / "none") in "".join(err.split())
    (tmp_path / "data" / "cifar100").mkdir(parents=True)
    _, _, err = bench(
        capsys, "table1b", "--dry-run", "--out", tmp_path / "o", "--data-root", tmp_path / "data"
    )
    assert "Dataset" not in err


def test_a_dry_run_lists_cells_and_computes_nothing(ran, capsys, tmp_path):
    spec, store, _ = ran
    code, _, err = bench(
        capsys, store.root.parent / "small.toml", "--out", tmp_path / "new", "--dry-run"
    )
    assert (
        code == 0
        and "6 of 6 cells to compute" in err
        and "?" in err
        and not (tmp_path / "new").exists()
    )
    code, _, err = bench(capsys, store.root.parent / "small.toml", "--out", store.root, "--dry-run")
    assert code == 0 and "0 of 6 cells to compute" in err and spec.cells()[0].id in err


def test_options_may_come_first(ran, capsys):
    _, store, _ = ran
    code, _, err = bench(capsys, "--dry-run", "--out", store.root, store.root.parent / "small.toml")
    assert code == 0 and "0 of 6 cells to compute" in err
    assert bench(capsys, "--help")[0] == 0


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["table9"], 2, "Known: "),
        (["table1a", "--budget", "gpu"], 2, "smoke"),
        (["report", "--out", "nowhere"], 2, "holds no benchmark"),
        (
            ["table1a", "--budget", "smoke", "--original", "none.safetensors"],
            2,
            "none.safetensors cannot be read",
        ),
    ],
)
def test_what_is_wrong_is_said_with_an_exit_code(
    capsys, tmp_path, monkeypatch, args, code, message
):
    monkeypatch.chdir(tmp_path)
    found, _, err = bench(capsys, *args)
    assert found == code and message in err and not list(tmp_path.iterdir())


def test_failed_cells_are_an_exit_code(capsys, tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        SMALL.replace('name = "esc"\n', 'name = "esc"\nset = { rank = 500 }\n').replace(
            "seeds = [0, 1]", "seeds = [0]"
        )
    )
    code, _, err = bench(capsys, path, "--out", tmp_path / "out", "--quiet")
    assert code == 7 and "1 cell failed" in err and "--retry-failed" in err


def test_one_request_after_the_other(tmp_path):
    path = tmp_path / "own.toml"
    path.write_text(
        SMALL.replace("classes = [4]", "steps = [[4], [0]]")
        .replace('"zrf"]', '"incremental", "steps"]')
        .replace("seeds = [0, 1]", "seeds = [0]")
    )
    spec, store = load(path), Store(tmp_path / "out")
    record(store, spec, "")
    assert work(spec, Bench(store, Run(batch_size=200)), lambda line: None).failed == 0
    steps = {row.method: store.read("cell", row.cells[0].id)["steps"] for row in spec.rows}
    for method in ("retrain", "esc"):
        assert [round(step["values"]["D_ft"]["value"]) <= 30 for step in steps[method]] == [
            True,
            True,
        ], method
    assert steps["esc"][1]["values"]["D_ft"]["n"] > steps["esc"][0]["values"]["D_ft"]["n"], (
        "what was forgotten so far"
    )
    names = {path.name for path in report(store.root)}
    assert {"own.paper-request-1.md", "own.paper-request-2.csv", "own.paper-steps.svg"} <= names


def test_processes_of_torchrun_take_cells_of_their_own(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    own_cells()
    assert os.environ["WORLD_SIZE"] == "1"
