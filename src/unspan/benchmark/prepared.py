"""What cells of one pair and request share, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from unspan.auditing.reference import random_weights
from unspan.benchmark.grid import Cell
from unspan.benchmark.measure import outputs
from unspan.benchmark.memory import in_memory, pooled
from unspan.data.request import Request
from unspan.metrics.outputs import Outputs
from unspan.run import Run


@dataclass
class Prepared:
    """What cells of one pair and request share, in memory.

    Attributes:
        key: what it was made for.
        steps: the requests, one after the other, samples as prepared tensors where they fit.
        pool: all training samples of these requests, in the order of the dataset.
        shares: of the retained training samples that is used, by step, for probes; as of the forget
            samples where these are cut too: 1.
        classes: names.
        original: the network before anything is forgotten.
        story: of its training.
        tested: test outputs of the original for every step.
        random: class scores of three untrained networks on the forget test rows of the last step.
    """

    key: str
    steps: list[Request]
    pool: Any
    shares: list[float]
    classes: list[str]
    original: nn.Module
    story: dict[str, Any]
    tested: list[Outputs]
    random: list[Tensor]


def key_of(cell: Cell) -> str:
    """What cells have in common that share what was prepared."""
    shared = (
        cell.data,
        cell.model,
        cell.train,
        cell.request,
        cell.retain,
        cell.holdout,
        cell.weights.get("original"),
        cell.original_seed,
    )
    return repr(shared)


def loaded(steps: Sequence[Request], run: Run) -> tuple[list[Request], Any]:
    """The requests with their samples in memory where they fit, and all training samples in the
    order of the dataset.
    """
    pool, train = pooled([part for one in steps for part in (one.forget, one.retain)], run)
    _, test = pooled([part for one in steps for part in (one.test_forget, one.test_retain)], run)
    held = None if steps[0].holdout is None else in_memory(steps[0].holdout, run)
    found = [
        replace(
            one,
            forget=train[2 * i],
            retain=train[2 * i + 1],
            test_forget=test[2 * i],
            test_retain=test[2 * i + 1],
            holdout=held,
        )
        for i, one in enumerate(steps)
    ]
    return found, pool


def asked_of(splits: Request) -> Any:
    """The forget test samples; all test samples for a request of samples."""
    if splits.test_forget is not None and len(splits.test_forget):
        return splits.test_forget
    return splits.test_retain


def untrained(model: nn.Module, splits: Request, run: Run) -> list[Tensor]:
    """Class scores of three networks with random weights on the forget test rows (all test rows for
    a request of samples).
    """
    data = asked_of(splits)
    found: Sequence[Outputs] = [
        outputs(random_weights(model, 1000 + seed), data, None, run) for seed in range(3)
    ]
    return [one.logits for one in found if one.logits is not None]
