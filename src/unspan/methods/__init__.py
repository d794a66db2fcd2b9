"""Methods of erasure, one file each; `base` says what a method is, `registry` which there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspan import dist
from unspan.data.request import Request
from unspan.methods.bad_teaching import BadTeaching
from unspan.methods.bake import Bake
from unspan.methods.base import (
    Card,
    EraserMethod,
    Fit,
    FitContext,
    Method,
    Outcome,
    TrainedMethod,
)
from unspan.methods.boundary import Boundary
from unspan.methods.builtin import METHODS
from unspan.methods.cf_k import CFk
from unspan.methods.cmf import CMF
from unspan.methods.damp import DAMP
from unspan.methods.dlfd import DLFD
from unspan.methods.esc import ESC
from unspan.methods.esc_t import ESCT
from unspan.methods.eu_k import EUk
from unspan.methods.finetune import Finetune
from unspan.methods.fisher import Fisher
from unspan.methods.l1_sparse import L1Sparse
from unspan.methods.lau import LAU
from unspan.methods.leace import LEACE
from unspan.methods.lfssd import LFSSD
from unspan.methods.neggrad import NegGrad
from unspan.methods.neggrad_plus import NegGradPlus
from unspan.methods.pour_d import POURD
from unspan.methods.pour_p import POURP
from unspan.methods.random_labels import RandomLabels
from unspan.methods.redraw import Redraw
from unspan.methods.registry import by_name, registered
from unspan.methods.resample import Resample
from unspan.methods.retrain import Retrain
from unspan.methods.salun import SalUn
from unspan.methods.scrub import Scrub
from unspan.methods.settings import configured, listed
from unspan.methods.ssd import SSD
from unspan.methods.svd import SVD

__all__ = [
    "CMF",
    "DAMP",
    "DLFD",
    "ESC",
    "ESCT",
    "LAU",
    "LEACE",
    "METHODS",
    "SSD",
    "LFSSD",
    "POURD",
    "POURP",
    "SVD",
    "BadTeaching",
    "Bake",
    "Boundary",
    "CFk",
    "Card",
    "EUk",
    "EraserMethod",
    "Finetune",
    "Fisher",
    "Fit",
    "FitContext",
    "L1Sparse",
    "Method",
    "NegGrad",
    "NegGradPlus",
    "Outcome",
    "RandomLabels",
    "Redraw",
    "Resample",
    "Retrain",
    "SalUn",
    "Scrub",
    "TrainedMethod",
    "by_name",
    "configured",
    "listed",
    "recommended",
    "registered",
]


def recommended(
    request: Request,
    form: str = "projected",
    earlier: Mapping[str, Any] | None = None,
    embeds: bool = False,
    labelled: bool = False,
) -> type[Method]:
    """The method class for a request that names none: what left least to converged attackers and
    meets its needs (docs/which-method.md).

    With data to keep, in one process and in the projected form: `Redraw` in an embedding model,
    `Resample` for classes, and `NegGradPlus` for single labelled samples in a classifier. Else
    `ESC`. A further request stays with ESC where the one before was by it, and single samples get
    it where an eraser was placed before.

    Args:
        request: the request.
        form: as in `erase`.
        earlier: the receipt of the request before.
        embeds: the model gives embeddings and no class scores.
        labelled: the samples to forget have labels.
    """
    stays = earlier is not None and earlier["method"]["name"] == ESC.name
    alone = form == "projected" and dist.launched() == 1
    if request.retain is None or stays or not alone:
        return ESC
    if embeds:
        return Redraw
    if request.classes:
        return Resample
    trains = labelled and (earlier is None or earlier["placement"]["kind"] == "trained")
    return NegGradPlus if trains else ESC
