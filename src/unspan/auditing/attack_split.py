"""Which samples the attacker learns from and on which he is judged: disjoint, fixed before the
audit runs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Subset

from unspan.data.indexed import is_indexed
from unspan.data.request import Request, digests_of
from unspan.errors import DataError

_TEST_SHARE = 5  # one of five samples is held out where the data have no test split


@dataclass(frozen=True)
class Parts:
    """Samples of an audit.

    Attributes:
        fit_forget: known to the attacker.
        fit_retain: known to the attacker.
        test_forget: what he is asked to recognise.
        test_retain: what he should not take for it.
        held_out: the test part was never trained on by the original model; otherwise it is a part
            of its training data.
        unseen: the retained test samples were not, so that membership can be judged against them.
    """

    fit_forget: Any
    fit_retain: Any
    test_forget: Any
    test_retain: Any
    held_out: bool
    unseen: bool


def parts(splits: Request) -> Parts:
    """The test split where there is one for the erased class, else a fifth of the data chosen by
    content.

    Raises:
        DataError: nothing to keep, so that nothing can be told apart from the forgotten samples.
    """
    if splits.retain is None:
        raise DataError(
            "The audit needs samples to keep as well: forgotten samples are told apart from them."
            " Give the whole data with --data, or Request(forget=..., retain=...)."
        )
    if splits.test_forget is not None and splits.test_retain is not None:
        return Parts(
            splits.forget,
            splits.retain,
            splits.test_forget,
            splits.test_retain,
            held_out=True,
            unseen=True,
        )
    fit_forget, test_forget = _halves(splits.forget)
    unseen = splits.test_retain is not None
    fit_retain, test_retain = (
        (splits.retain, splits.test_retain) if unseen else _halves(splits.retain)
    )
    return Parts(fit_forget, fit_retain, test_forget, test_retain, held_out=False, unseen=unseen)


def _halves(data: Any) -> tuple[Any, Any]:
    if not is_indexed(data):
        raise DataError(
            "The audit needs data that can be read twice: give a dataset, not a stream."
        )
    stored = digests_of(data)
    marks = (
        stored
        if stored is not None
        else [hashlib.sha256(str(i).encode()).digest() for i in range(len(data))]
    )
    held = [i for i, mark in enumerate(marks) if int.from_bytes(mark[:8], "big") % _TEST_SHARE == 0]
    kept = sorted(set(range(len(marks))) - set(held))
    if not held or not kept:
        raise DataError(
            f"{len(marks)} samples are too few to be split into what an attacker knows and what he"
            " is judged on; give at least 20, or a test split."
        )
    return Subset(data, kept), Subset(data, held)
