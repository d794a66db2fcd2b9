"""POUR-P: project the direction of the class out of the head. A negative control.

Idea: the weight row of a class is the direction that names it. Without that direction its score is
0, and the head names it only where all other scores are negative.
Formula: V = the rows of W of the forgotten classes, `P = I - V'(V V')^+ V`. `W <- W P`, then the
rows and biases of these classes are 0.
Needs: a linear head and the class; no data, beyond the pass over the forget samples that every
erasure makes. Cost: O(C d).
Typical: no settings.
Fails: features do not change at all, so every probe reads the class as before. It is listed to show
that. Samples of the class for which all other scores are negative are still named. On small
networks these may be most: the run then warns, or ends with exit 7. Biases of the others make that
likelier or less likely.
Source: "POUR", CVPR 2026 (arXiv 2511.19339).
Deviates: several classes are removed together. For models without a linear head the paper takes the
mean feature in place of the row. That is left out, since there is no head to edit (pour-d has it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from unspan.errors import UsageError
from unspan.methods.base import TrainedMethod
from unspan.system.target import Target
from unspan.training.context import Outcome, TrainingContext


@dataclass(frozen=True, kw_only=True)
class POURP(TrainedMethod):
    """POUR-P has no settings."""

    name: ClassVar[str] = "pour-p"
    paper: ClassVar[str] = "POUR, CVPR 2026, arXiv 2511.19339"
    target: ClassVar[Target] = Target.SUPPRESS
    needs: ClassVar[frozenset[str]] = frozenset()
    labelled: ClassVar[bool] = False

    def remedy(self, figures: Mapping[str, Any]) -> str:
        """There are no settings, and where the others score below 0 the head still names it."""
        return (
            "The score of the class is 0 now, and the other scores are negative for these samples,"
            " so that it is still the largest: choose another method (unspan methods)"
        )

    def unlearn(self, context: TrainingContext) -> Outcome:
        """Edit the head.

        Raises:
            UsageError: the request names no class, or there is no linear head that may change.
        """
        head = context.head(changes=True)
        rows = class_rows(context)
        with torch.no_grad():
            kept = head.weight.double() @ complement(rows)
            kept[list(context.forgotten)] = 0
            head.weight.copy_(kept)
            if head.bias is not None:
                head.bias[list(context.forgotten)] = 0
        return Outcome({"directions": int(torch.linalg.matrix_rank(rows))})


def class_rows(context: TrainingContext) -> Tensor:
    """Weight rows of the forgotten classes, `[k, d]` float64.

    Raises:
        UsageError: the request names no class, or there is no linear head.
    """
    if not context.forgotten:
        raise UsageError(
            "POUR removes the head's direction of a class, and the request names samples and no"
            " class. Request a class, or choose another method (unspan methods)."
        )
    return context.head().weight.detach()[list(context.forgotten)].double()


def complement(rows: Tensor) -> Tensor:
    """`P = I - V'(V V')^+ V`, the projection `[d, d]` onto what all rows `[k, d]` are orthogonal
    to.

    >>> complement(torch.tensor([[0.0, 2.0]])).abs().tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    eye = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
    return eye - torch.linalg.pinv(rows) @ rows
