"""The catalogue: one file per method, listed here by hand. A third party passes its own object
instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Protocol

from unspan import dist
from unspan.data.request import Splits
from unspan.errors import UsageError
from unspan.extraction.stream import FeatureStream
from unspan.methods.bad_teaching import BadTeaching
from unspan.methods.bake import Bake
from unspan.methods.boundary import Boundary
from unspan.methods.cf_k import CFk
from unspan.methods.dlfd import DLFD
from unspan.methods.esc import ESC, Fit
from unspan.methods.esc_t import ESCT
from unspan.methods.finetune import Finetune
from unspan.methods.fisher import Fisher
from unspan.methods.l1_sparse import L1Sparse
from unspan.methods.lau import LAU
from unspan.methods.leace import LEACE
from unspan.methods.neggrad import NegGrad
from unspan.methods.neggrad_plus import NegGradPlus
from unspan.methods.random_labels import RandomLabels
from unspan.methods.resample import Resample
from unspan.methods.retrain import Retrain
from unspan.methods.salun import SalUn
from unspan.methods.scrub import Scrub
from unspan.methods.settings import configured, listed
from unspan.methods.svd import SVD
from unspan.training.context import Outcome, Work

METHODS: tuple[Any, ...] = (
    ESC,
    ESCT,
    LEACE,
    Resample,
    Retrain,
    Finetune,
    CFk,
    NegGrad,
    NegGradPlus,
    RandomLabels,
    Fisher,
    Scrub,
    L1Sparse,
    SalUn,
    Boundary,
    LAU,
    BadTeaching,
    SVD,
    DLFD,
    Bake,
)

__all__ = [
    "METHODS",
    "EraserMethod",
    "Fit",
    "Method",
    "Outcome",
    "TrainedMethod",
    "by_name",
    "configured",
    "listed",
    "recommended",
    *(method.__name__ for method in METHODS),
]


class EraserMethod(Protocol):
    """A method that fits a map on the features: frozen settings with `fit`."""

    @property
    def name(self) -> str:
        """Name on the command line and in receipts."""

    @property
    def stronger(self) -> tuple[str, ...]:
        """Settings that make it remove more when they are raised."""

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads: of `forget`, `forget_labels`, `retain`, `holdout`."""

    def check(self, dim: int) -> None:
        """Refuse impossible settings before data is read."""

    def fit(self, stream: FeatureStream) -> Fit:
        """Read the stream, return the eraser."""


class TrainedMethod(Protocol):
    """A method that changes weights: frozen settings with `unlearn`."""

    @property
    def name(self) -> str:
        """Name on the command line and in receipts."""

    @property
    def stronger(self) -> tuple[str, ...]:
        """Settings that make it remove more when they are raised."""

    @property
    def needs(self) -> frozenset[str]:
        """Which data it reads: of `forget`, `forget_labels`, `retain`, `holdout`."""

    def unlearn(self, work: Work) -> Outcome:
        """Change `work.model` in place."""


Method = EraserMethod | TrainedMethod


def recommended(
    splits: Splits, form: str = "projected", earlier: Mapping[str, Any] | None = None
) -> Any:
    """The method class for a request that names none: what left least to converged attackers and
    meets its needs (docs/resample.md).

    `Resample` for classes with data to keep, in one process and in the projected form; else `ESC`.
    A further request stays with the method of the one before when that was ESC.

    Args:
        splits: the request.
        form: as in `erase`.
        earlier: the receipt of the request before.
    """
    stays = earlier is not None and earlier["method"]["name"] == ESC.name
    suited = (
        bool(splits.classes)
        and splits.retain is not None
        and form == "projected"
        and dist.world() == 1
    )
    return Resample if suited and not stays else ESC


def by_name(name: str) -> Any:
    """The method class of a command-line name.

    Raises:
        UsageError: unknown; says close names, and lists all.
    """
    known = {method.name: method for method in METHODS}
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=3)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    raise UsageError(f"Unknown method '{name}'.{meant} Methods: {', '.join(known)}.")
