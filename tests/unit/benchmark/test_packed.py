"""Packed tables: one file a table, the same views, the same scores; renamed settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from unspan.benchmark import packed, renamed
from unspan.benchmark.estimates import estimate
from unspan.benchmark.grid import Cell
from unspan.benchmark.renamed import configured_method
from unspan.benchmark.report import filled, report
from unspan.benchmark.spec import find, load
from unspan.benchmark.spec_text import NETWORKS
from unspan.benchmark.store import Store
from unspan.cli import app
from unspan.errors import DataError, UsageError

RESULTS = Path(__file__).parents[3] / "results/bench"


def cell(method: str = "esc", seed: int = 0) -> Cell:
    return Cell(
        data="digits",
        model="m",
        train={"lr": 0.1},
        request={"classes": [4]},
        method=method,
        seed=seed,
    )


def result(one: Cell, value: float) -> dict:
    """What the table `settings` needs of a cell."""
    return {
        "cell": json.loads(json.dumps(vars(one))),
        "versions": {"torch": "2", "unspan": "0"},
        "threads": 1,
        "device": "cpu",
        "steps": [{"values": {"HM_t": {"value": value}}, "beside": {}, "seconds": 1.0}],
    }


def spec(name: str, *cells: Cell) -> dict:
    row = {"label": "ESC", "method": "esc", "pair": "digits, m", "paper": None}
    return {
        "name": name,
        "budget": "cpu",
        "title": name,
        "views": ["settings"],
        "paper": None,
        "note": "",
        "command": "unspan bench",
        "rows": [row | {"needs_retain": False, "cells": [one.id for one in cells]}],
    }


@pytest.fixture
def store(tmp_path):
    """Two tables that share a cell, a cell of no table, and one that failed."""
    store = Store(tmp_path / "out")
    first, second, alone, failed = cell(seed=0), cell(seed=1), cell("lau"), cell("svd")
    for one, value in ((first, 1 / 3), (second, 2 / 3), (alone, 0.5)):
        store.write("cell", one.id, result(one, value))
    store.write("cell", failed.id, {"cell": vars(failed), "error": "no memory"})
    store.write("spec", "table1.cpu", spec("table1", first, second))
    store.write("spec", "figure1.cpu", spec("figure1", first, failed))
    return store


def rows(root: Path) -> dict:
    fresh = Store(root)
    return {name: filled(fresh, fresh.read("spec", name)) for name in fresh.names("spec")}


def remove_single_files(root: Path) -> None:
    shutil.rmtree(root / "cells")
    shutil.rmtree(root / "specs")


def test_scores_and_pages_are_equal_before_and_after_packing(store):
    failed = cell("svd").id
    store.path("cell", failed).unlink()
    before = rows(store.root)
    pages = {path: path.read_bytes() for path in report(store.root)}
    store.pack()
    remove_single_files(store.root)
    assert rows(store.root) == before
    assert {path: path.read_bytes() for path in report(store.root)} == pages


def test_every_finished_cell_stands_in_one_line_of_one_file(store):
    files = store.pack()
    assert [path.name for path in files] == ["table1.cpu.jsonl", "figure1.cpu.jsonl", "other.jsonl"]
    lines = [line for path in files for line in path.read_text("utf-8").splitlines()]
    ids = [json.loads(line)["id"] for line in lines if '"id"' in line[:6]]
    assert sorted(ids) == sorted(one.id for one in (cell(), cell(seed=1), cell("lau")))


def test_packing_again_changes_nothing(store):
    texts = [path.read_bytes() for path in store.pack()]
    remove_single_files(store.root)
    assert [path.read_bytes() for path in Store(store.root).pack()] == texts


def test_the_command_names_files_by_their_place(store):
    for kind in ("tsne", "gradcam"):
        picture = {"cell": cell().id, "kind": kind, "content": []}
        store.write("picture", f"{cell().id}.{kind}", picture)
    run = CliRunner().invoke(app, ["bench", "pack", "--out", str(store.root)])
    said = " ".join(run.output.split())
    for name in ("table1.cpu.jsonl,", "figure1.cpu.jsonl,", "pictures/other.jsonl"):
        assert f" {name}" in said
    assert said.count("other.jsonl") == len(list(store.root.rglob("other.jsonl"))) == 2


@pytest.mark.parametrize("name", ["table1", "table1.cpu", "table1.toml", "away/table1.toml"])
def test_a_report_takes_a_spec_by_name_or_file(store, tmp_path, name):
    store.path("cell", cell("svd").id).unlink()
    report(store.root, [name])
    page = (store.root / "report/README.md").read_text()
    assert "## table1" in page and "## figure1" not in page


def test_a_report_reads_the_name_of_any_file_that_a_run_takes(store, tmp_path):
    file = tmp_path / "table1.spec"
    file.write_text("")
    assert report(store.root, [str(file)])


def test_a_report_of_several_names_what_was_not_run(store):
    with pytest.raises(UsageError, match="named g; known: table1.cpu, figure1.cpu"):
        report(store.root, ["table1", "lab/g.toml"])


def test_a_cell_of_its_own_goes_before_a_packed_one(store):
    store.pack()
    store.write("cell", cell().id, result(cell(), 0.9))
    found = Store(store.root).read("cell", cell().id)
    assert found["steps"][0]["values"]["HM_t"]["value"] == 0.9


@pytest.mark.parametrize("text", ["", "{", "[]\n", '{"schema": "unspan.bench-table/9"}\n'])
def test_a_file_that_is_no_packed_table_is_refused(store, text):
    path = store.pack()[0]
    path.write_text(text)
    with pytest.raises(DataError, match=path.name):
        Store(store.root).names("cell")


def test_committed_cells_have_the_id_of_their_settings_and_settings_of_today():
    _, cells = packed.read(RESULTS)
    assert len(cells) >= 64
    for name, found in cells.items():
        one = Cell(**found["cell"] | {"pictures": tuple(found["cell"]["pictures"])})
        assert one.id == name
        if one.method not in NETWORKS:
            configured_method(one.method, one.settings)


def test_committed_tables_are_drawn_from_committed_cells():
    specs, cells = packed.read(RESULTS)
    whole = 0
    for found in specs.values():
        rows = [set(row["cells"]) for row in found["rows"]]
        if all(row & set(cells) for row in rows):  # others are not finished, and not on the page
            whole += 1
            missing = set().union(*rows) - set(cells)
            assert not missing or found["budget"] == "full"  # which says how many seeds ran
    assert whole >= 20


def test_committed_pictures_are_found_and_their_cells_are_those_of_the_first_table():
    store = Store(RESULTS)
    given = store.read("cell", "4075c5e546d6a031")["cell"]["weights"]
    weights = {name: [one] for name, one in given.items()}
    for name, kind in (("figure6", "gradcam"), ("tsne", "tsne")):
        asked = load(find(name), "cpu", weights)
        assert {one[2] for one in estimate(asked, store)} == {"done"}
        rows = filled(store, store.read("spec", f"{name}.cpu"))
        assert all(row.results[0]["pictures"][kind] for row in rows)


def test_a_renamed_setting_keeps_the_id_of_a_cell():
    for method, names in renamed.RENAMED.items():
        for old, today in names.items():
            base = vars(cell(method))
            before = Cell(**base | {"settings": {old: 0.2}})
            after = Cell(**base | {"settings": {today: 0.2}})
            assert before.id == after.id
            assert renamed.todays_names(method, {old: 0.2}) == {today: 0.2}
    assert configured_method("resample", {"drawn": 0.2}).noise_fraction == 0.2
