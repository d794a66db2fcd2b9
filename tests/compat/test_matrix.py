"""The selection of the matrix for networks of torchvision, timm and transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
from matrix.cells import Cell
from matrix.networks import NETWORKS, library
from matrix.prepare import cache_in
from matrix.run import run_cell
from matrix.selection import pairwise


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Trained networks, shared by the processes of a test run."""
    base = tmp_path_factory.getbasetemp()
    return cache_in(base if worker_id == "master" else base.parent)


@pytest.mark.parametrize(
    "cell",
    [cell for cell in pairwise(list(NETWORKS)) if library(cell.network) != "torch"],
    ids=lambda cell: cell.name,
)
def test_a_cell_works_or_says_why_not(cell: Cell, cache: Path, tmp_path: Path) -> None:
    outcome = run_cell(cell, cache, tmp_path / "cell")
    assert outcome.state != "fails", outcome.said
