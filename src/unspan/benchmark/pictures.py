"""Pictures of a model in a benchmark.

They lie apart from the scores of its cell, so that asking for one measures nothing again.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from unspan.auditing.gradcam import panels
from unspan.auditing.subjects import subject
from unspan.benchmark.measure import embedded, outputs
from unspan.benchmark.prepared import Prepared, asked_of
from unspan.data.loading import batches
from unspan.run import Run

_SAMPLES = 4  # shown by Grad-CAM


def name_of(cell: str, kind: str) -> str:
    """Name of a picture in the store.

    >>> name_of("7af97b538679a23b", "tsne")
    '7af97b538679a23b.tsne'
    """
    return f"{cell}.{kind}"


def drawn(kind: str, ready: Prepared, model: nn.Module, run: Run) -> list[Any]:
    """What a figure shows of one model after the last request.

    Args:
        kind: `gradcam` or `tsne`.
        ready: data and original.
        model: the network itself.
        run: device, batch size.

    Returns:
        For `tsne` rows of x, y and class; for `gradcam` the image and the map of each sample.
    """
    last = ready.steps[-1]
    if kind == "tsne":
        return embedded(outputs(model, last.test_forget, last.test_retain, run), 0)
    batch = next(iter(batches(asked_of(last), run)))
    before = subject("before", ready.original, batch.inputs)
    after = subject("after", model, batch.inputs)
    return [
        {"image": one["image"], "map": one["after"]}
        for one in panels(before, after, batch.inputs, batch.labels, _SAMPLES)
    ]
