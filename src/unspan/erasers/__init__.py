"""Erasers: maps on penultimate features, and the mathematics they are made with.

Affine erasers (`Projection`, `LinearMap`) fold into weights. Gated ones (`Resampler`, `Redrawer`,
`LogitMarginEraser`) decide for every sample by itself. `UnitCentring` belongs to a head of class
means. A `Chain` applies several in order.
"""

from unspan.erasers.centring import UnitCentring
from unspan.erasers.composition import (
    Affine,
    Chain,
    Eraser,
    compose,
    from_buffers,
    is_mapped,
    kind_of,
    kinds,
    placed,
)
from unspan.erasers.feature_map import FeatureMap, Layout
from unspan.erasers.gated import Gate, LogitMarginEraser
from unspan.erasers.linear import LinearMap, Projection
from unspan.erasers.redrawer import Redrawer
from unspan.erasers.resampler import Resampler
from unspan.erasers.scores import affine_scores, head_rows

__all__ = [
    "Affine",
    "Chain",
    "Eraser",
    "FeatureMap",
    "Gate",
    "Layout",
    "LinearMap",
    "LogitMarginEraser",
    "Projection",
    "Redrawer",
    "Resampler",
    "UnitCentring",
    "affine_scores",
    "compose",
    "from_buffers",
    "head_rows",
    "is_mapped",
    "kind_of",
    "kinds",
    "placed",
]
