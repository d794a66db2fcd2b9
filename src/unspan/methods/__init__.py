"""Methods of erasure, one file each; `base` says what a method is, `registry` which there are."""

from __future__ import annotations

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
from unspan.methods.choice import Situation
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
    "Situation",
    "TrainedMethod",
    "by_name",
    "configured",
    "listed",
    "registered",
]
