"""The methods of this library, listed by hand: the order of tables and of `unspan methods`."""

from __future__ import annotations

from unspan.methods.bad_teaching import BadTeaching
from unspan.methods.bake import Bake
from unspan.methods.base import Method
from unspan.methods.boundary import Boundary
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
from unspan.methods.resample import Resample
from unspan.methods.retrain import Retrain
from unspan.methods.salun import SalUn
from unspan.methods.scrub import Scrub
from unspan.methods.ssd import SSD
from unspan.methods.svd import SVD

METHODS: tuple[type[Method], ...] = (
    ESC,
    ESCT,
    LEACE,
    Resample,
    Redraw,
    Retrain,
    Finetune,
    CFk,
    EUk,
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
    SSD,
    LFSSD,
    POURP,
    POURD,
    DLFD,
    DAMP,
    CMF,
    Bake,
)
