"""The requests of a cell: which samples of a dataset are forgotten, kept, held out and tested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Subset

from unspan.benchmark.data import Data
from unspan.data.request import Request, labels_of
from unspan.errors import UsageError
from unspan.training.samples import generator


def requests(
    data: Data,
    request: dict[str, Any],
    retain: int | None,
    holdout: float,
    *,
    whole_forget: bool = True,
) -> list[Request]:
    """One `Request` for every request of a cell, the later ones without what the earlier ones
    forgot.

    Test samples of everything that is forgotten so far are `test_forget`. Draws are the same for
    every seed of a method, and made once: the retained samples of a later request are those of the
    first without what was forgotten since.

    Args:
        data: the dataset.
        request: `classes`, `share`, `benchmark` or `steps`.
        retain: largest number of retained training samples at the first request.
        holdout: share of the test set that is set aside for methods that choose.
        whole_forget: keep all samples to be forgotten; otherwise as small a part of them as of the
            retained ones, so that a network that is trained on both sees every class as often as
            before.

    Raises:
        UsageError: a class that is not there, or nothing would remain.
    """
    if "steps" not in request and "classes" not in request:
        return [_of_samples(data, request, retain, holdout, whole_forget)]
    refuse_unknown_classes(data, request)
    return _of_classes(data, _steps(request), retain, holdout, whole_forget)


def _of_samples(
    data: Data, request: dict[str, Any], retain: int | None, holdout: float, whole_forget: bool
) -> Request:
    count = len(labels_of(data.train))
    kept, held = _split_test(data, len(labels_of(data.test)), holdout)
    gone = _forget_positions(data, count, request)
    rest = torch.ones(count, dtype=torch.bool)
    rest[gone] = False
    chosen, share = _at_most(rest.nonzero()[:, 0], retain)
    gone = gone if whole_forget else _share_of(gone, share, 0)
    return Request(
        forget=Subset(data.train, gone.sort().values.tolist()),
        retain=Subset(data.train, chosen.tolist()),
        test_retain=Subset(data.test, kept.tolist()),
        holdout=held,
        kind="samples",
        selector=(f"{len(gone)} samples",),
    )


def _steps(request: dict[str, Any]) -> list[list[int]]:
    """The classes of each request; empty for a request of samples."""
    return request.get("steps") or [request.get("classes", [])]


def refuse_unknown_classes(data: Data, request: dict[str, Any]) -> None:
    """Refuse a request of classes that the dataset has not, or of all that it has.

    Raises:
        UsageError: says which class, and how many there are.
    """
    asked = [one for step in _steps(request) for one in step]
    wrong = [one for one in asked if not 0 <= one < len(data.classes)]
    if wrong:
        raise UsageError(
            f"Class {wrong[0]} is not one of the {len(data.classes)} of this dataset, 0 to"
            f" {len(data.classes) - 1}."
        )
    if set(asked) >= set(range(len(data.classes))):
        raise UsageError(
            f"The requests name all {len(data.classes)} classes: nothing would remain."
        )


def _of_classes(
    data: Data,
    steps: Sequence[Sequence[int]],
    retain: int | None,
    holdout: float,
    whole_forget: bool,
) -> list[Request]:
    labels, tested = torch.tensor(labels_of(data.train)), torch.tensor(labels_of(data.test))
    kept, held = _split_test(data, len(tested), holdout)
    chosen, share = _at_most((~torch.isin(labels, torch.tensor(steps[0]))).nonzero()[:, 0], retain)
    found = []
    for number, step in enumerate(steps):
        so_far = torch.tensor([one for part in steps[: number + 1] for one in part])
        own = torch.isin(labels, torch.tensor(step)).nonzero()[:, 0]
        if not whole_forget and number == 0:
            own = _share_of(own, share, 0)
        elif not whole_forget:
            own = chosen[torch.isin(labels[chosen], torch.tensor(step))]
        is_forgotten = torch.isin(tested, so_far)
        found.append(
            Request(
                forget=Subset(data.train, own.tolist()),
                retain=Subset(data.train, chosen[~torch.isin(labels[chosen], so_far)].tolist()),
                test_forget=Subset(data.test, kept[is_forgotten[kept]].tolist()),
                test_retain=Subset(data.test, kept[~is_forgotten[kept]].tolist()),
                holdout=held,
                kind="class",
                selector=tuple(data.classes[one] for one in step),
                classes=tuple(step),
            )
        )
    return found


def _forget_positions(data: Data, n: int, request: dict[str, Any]) -> Tensor:
    """Positions of a request of samples."""
    if "share" in request:
        count = max(1, round(request["share"] * n))
        return torch.randperm(n, generator=generator(0, "share"))[:count]
    if data.forget is None:
        raise UsageError("This dataset defines no request of its own; use classes, share or steps.")
    return torch.tensor(data.forget)


def _split_test(data: Data, n: int, holdout: float) -> tuple[Tensor, Any]:
    """Positions of the test set that are reported, and what methods may choose by."""
    if data.holdout is not None or not holdout:
        return torch.arange(n), data.holdout
    order = torch.randperm(n, generator=generator(0, "holdout"))
    count = round(holdout * n)
    return order[count:].sort().values, Subset(data.test, order[:count].sort().values.tolist())


def _at_most(positions: Tensor, most: int | None) -> tuple[Tensor, float]:
    """At most so many of the positions, in order, and what share of them that is."""
    if most is None or len(positions) <= most:
        return positions, 1.0
    order = torch.randperm(len(positions), generator=generator(0, "retain"))
    return positions[order[:most]].sort().values, most / len(positions)


def _share_of(positions: Tensor, share: float, step: int) -> Tensor:
    """A share of the positions to be forgotten, in order."""
    if share >= 1:
        return positions
    order = torch.randperm(len(positions), generator=generator(0, "forget", step))
    return positions[order[: max(1, round(share * len(positions)))]].sort().values
