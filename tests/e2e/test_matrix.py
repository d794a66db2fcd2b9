"""The selection of the matrix for networks of the user's own, and its table; for those of
libraries it runs in `compat/`.
"""

import itertools
import json

import pytest
from matrix.cells import DTYPES, METHODS, REQUESTS, Cell, Outcome, every_cell, named
from matrix.networks import NETWORKS, library
from matrix.prepare import cache_in
from matrix.run import run_cell
from matrix.selection import MOST, pairs, pairwise
from matrix.table import PAGE, RESULTS, brief, page, results

SELECTED = pairwise(list(NETWORKS))


@pytest.fixture(scope="session")
def cache(tmp_path_factory, worker_id):
    """Trained networks, shared by the processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    return cache_in(base if worker_id == "master" else base.parent)


@pytest.mark.parametrize(
    "cell",
    [cell for cell in SELECTED if library(cell.network) == "torch"],
    ids=lambda cell: cell.name,
)
def test_a_cell_works_or_says_why_not(cell, cache, tmp_path):
    outcome = run_cell(cell, cache, tmp_path / "cell")
    assert outcome.state != "fails", outcome.said


def test_the_selection_shows_every_pair_but_some_of_network_and_request():
    assert len(SELECTED) <= MOST and pairwise(list(NETWORKS)) == SELECTED
    shown = set().union(*map(pairs, SELECTED))
    missing = set().union(*map(pairs, every_cell(NETWORKS))) - shown
    assert {(first, second) for first, _, second, _ in missing} <= {(0, 2)}


def test_every_network_has_every_cell_and_a_name_that_comes_back():
    cells = every_cell(NETWORKS)
    assert len(cells) == len(NETWORKS) * len(DTYPES) * len(REQUESTS) * len(METHODS)
    assert [named(cell.name) for cell in cells] == cells


def test_where_a_refusal_is_a_failure():
    must = [cell for cell in every_cell(["own-cnn"]) if cell.must_work]
    expected = itertools.product(("bfloat16", "float32"), ("default", "esc"))
    assert [(cell.dtype, cell.method) for cell in sorted(must)] == list(expected)
    assert {cell.request for cell in must} == {"class"}


def test_equal_reasons_have_one_number():
    one, two, three = (Cell("own-cnn", dtype, "ids", "esc") for dtype in DTYPES)
    kept = results(
        {
            one: Outcome("refused", "erase, exit 7: Error: class 3 loses 4.1 points in /x/y.", {}),
            two: Outcome("refused", "erase, exit 7: Error: class 2 loses 12 points in /z.", {}),
            three: Outcome("works", "", {"export": "works"}),
        }
    )
    assert kept["messages"] == ["Inconclusive: class N loses N points in PATH"]
    assert sorted(kept["cells"].values()) == ["refused 1", "refused 1", "works"]
    assert "| own-cnn | not run" in page(kept)
    assert brief("ValueError: 3") == "ValueError: N"


def test_the_page_is_made_from_the_results():
    assert PAGE.read_text("utf-8") == page(json.loads(RESULTS.read_text("utf-8")))
