"""Few cells that together show every pair of values."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

from matrix.cells import Cell, every_cell

MOST = 60  # cells; the pairs of 18 networks and 4 requests alone would need 72
TRIES = 400  # candidates a step

Pair = tuple[int, str, int, str]


def pairs(cell: Cell) -> set[Pair]:
    """Every two values that this cell brings together, with their places."""
    values = (cell.network, cell.dtype, cell.request, cell.method)
    return {(i, values[i], j, values[j]) for i, j in itertools.combinations(range(4), 2)}


def pairwise(networks: Sequence[str], seed: int = 0) -> list[Cell]:
    """A selection in which every pair of values occurs, as far as `MOST` cells go.

    Greedy: of some random cells that bring a pair still missing, take the one that brings most.
    What `MOST` leaves out are pairs of a network and a request. The same networks and seed give
    the same cells.
    """
    draw = random.Random(seed)
    cells = every_cell(networks)
    missing = set().union(*(pairs(cell) for cell in cells))
    chosen: list[Cell] = []
    while missing and len(chosen) < MOST:
        useful = [cell for cell in cells if pairs(cell) & missing]
        tried = draw.sample(useful, min(TRIES, len(useful)))
        best = max(tried, key=lambda cell: len(pairs(cell) & missing))
        chosen.append(best)
        missing -= pairs(best)
    return sorted(chosen)
