"""Cells that were measured by different attacks never stand in one table."""

import pytest

from unspan.benchmark.measurement import MEASUREMENT, refuse_mixed, refuse_older
from unspan.benchmark.packed import read, write
from unspan.errors import DataError

OLD, NEW = {"steps": []}, {"steps": [], "measurement": MEASUREMENT}
FAILED = {"error": "DataError: x"}


def test_cells_of_one_version_are_shown():
    for one in (OLD, NEW):
        refuse_mixed("table1a", {"a": one, "b": one, "c": None, "d": FAILED})


def test_cells_of_two_versions_are_refused_and_named():
    with pytest.raises(DataError) as caught:
        refuse_mixed("table1a", {"a1": NEW, "b2": OLD, "c3": OLD, "d": None})
    text = str(caught.value)
    assert (
        "table1a" in text and "version 0: b2, c3" in text and f"version {MEASUREMENT}: a1" in text
    )


def test_nothing_is_computed_beside_older_cells():
    refuse_older("table1a", {"a": NEW, "b": None})
    refuse_older("table1a", {"a": OLD, "b": OLD})  # whole: nothing is left to compute
    for left in (None, FAILED):
        with pytest.raises(DataError, match="version 0: a1"):
            refuse_older("table1a", {"a1": OLD, "b": left})


def test_many_cells_are_named_shortly():
    with pytest.raises(DataError, match="and 3 more"):
        refuse_mixed("x", {f"c{place}": OLD for place in range(8)} | {"n": NEW})


def test_the_version_survives_packing(tmp_path):
    write(
        tmp_path,
        {"t.cpu": {"rows": [{"cells": ["a"]}], "views": []}},
        {"a": NEW | {"cell": {"method": "esc", "seed": 0}}},
    )
    assert read(tmp_path)[1]["a"]["measurement"] == MEASUREMENT
