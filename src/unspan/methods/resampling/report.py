"""What a user should know of a fit of `resample`."""

from __future__ import annotations

import math
from typing import Any

from unspan.erasers.transport import ENOUGH

_FEW_GATED = 0.5  # of the forget samples
_MANY_MOVED = 0.03  # of the retained samples
_LESS = ("; the model takes them for the forgotten class", "; ask for less with false_positives")


def warnings_of(report: dict[str, Any], dim: int) -> tuple[str, ...]:
    """The warnings that the figures of a fit in `dim` dimensions call for."""
    found = []
    if report["gated"] < _FEW_GATED:
        found.append(
            f"only {report['gated']:.0%} of the forget samples are recognised by the gate; the"
            " others pass it with their features unchanged"
        )
    if report.get("moved", 0) > _MANY_MOVED:
        found.append(
            f"the gate holds {report['moved']:.0%} of the retained samples as well, and moves them"
            " too" + _LESS[report.get("false_positives") is not None]
        )
    if report.get("fewest_retained", math.inf) < ENOUGH * dim:
        found.append(
            f"the statistics of a cluster rest on {report['fewest_retained']} samples in"
            f" {dim} dimensions: what goes there can be told from real samples, and"
            " probes may read it (docs/resample.md); give more retain data, or statistics='head'"
            " where only answers are served"
        )
    return tuple(found)
