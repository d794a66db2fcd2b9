"""Tensors that an erased model returns beside its scores, and whether they are the original's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from unspan.auditing.readers import Subject
from unspan.data.inputs import first_rows, place
from unspan.extraction import eval_mode, forward, input_like, logits_of, read, shown, tensors_in

_SAMPLES = 16


@dataclass(frozen=True)
class Returned:
    """A tensor of the output that the erasure did not touch.

    Attributes:
        where: its place, `output[1]` say.
        features: it is the vector that probes of the original read the class from.
    """

    where: str
    features: bool

    @property
    def note(self) -> str:
        """For the report."""
        what = "the features of the original" if self.features else "what the original returns"
        return f"the model hands out {self.where}, which is still {what}, bit for bit"


def unchanged(before: Subject, after: Subject, inputs: Any) -> list[Returned]:
    """Tensors `[n, d]` or larger, beside the scores, that both models return alike.

    Empty for models of the same weights, where nothing was erased.
    """
    if before.digest == after.digest:
        return []
    few = first_rows(inputs, _SAMPLES)
    with eval_mode(before.model), eval_mode(after.model):
        own = place(few, input_like(before.model, few))
        features, first = read(before.model, before.feature_layer, own)
        second = forward(after.model, place(few, input_like(after.model, few)))
    scores = logits_of(first)
    theirs = dict(tensors_in(second))
    found = []
    for path, tensor in tensors_in(first):
        other = theirs.get(path)
        if not path or tensor is scores or tensor.ndim < 2 or other is None:
            continue
        if tensor.shape == other.shape and torch.equal(tensor.cpu(), other.cpu()):
            same = tensor.shape == features.shape and torch.equal(tensor, features)
            found.append(Returned(shown(path), same))
    return found
