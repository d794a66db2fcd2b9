"""What the erased model is compared with: retrained models if given, else the same architecture
with random weights, else raw pixels.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from unspan.artifact.record import RECORD, record_of
from unspan.data.loading import batches
from unspan.extraction import detach, unwrap
from unspan.models.copying import copied
from unspan.models.redraw import redraw
from unspan.run import Run


def random_weights(model: nn.Module, seed: int) -> nn.Module:
    """A copy with freshly drawn weights, without any eraser; see `redraw`."""
    fresh = copied(unwrap(model))
    record = record_of(fresh)
    if record is not None:
        if record.placement == "hook":
            detach(fresh, record.feature_layer)
        delattr(fresh, RECORD)
    redraw(fresh, seed)
    return fresh.eval()


def pixels(data: Any, run: Run, side: int = 8) -> Tensor | None:
    """`[n, channels * 64]` inputs averaged to 8 x 8, the floor that needs no network; None when
    they are not images.
    """
    rows = []
    for batch in batches(data, run, shard=False):
        if not isinstance(batch.inputs, Tensor) or batch.inputs.ndim != 4:
            return None
        small = nn.functional.adaptive_avg_pool2d(batch.inputs[: len(batch)].float(), (side, side))
        rows.append(small.flatten(1))
    return torch.cat(rows) if rows else None
