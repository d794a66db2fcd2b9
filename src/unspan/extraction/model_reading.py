"""What passes over data read of models, in this process or on the workers of a cluster."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from unspan.data.batch import Batch
from unspan.data.inputs import count_rows, first_rows
from unspan.errors import ResourceError, UsageError
from unspan.extraction.feature_layer import FeatureLayer
from unspan.extraction.layout import arranged, layout_of, settle_layout
from unspan.extraction.reading import read
from unspan.models.frozen_norms import follows_batch

Found = TypeVar("Found")


class ModelReading(ABC, Generic[Found]):
    """A `data.passes.Reading` that runs models.

    A copy in another process computes the same to the last bit: it keeps to the memory layout that
    was settled here.
    """

    @property
    @abstractmethod
    def models(self) -> Sequence[nn.Module]:
        """The models that run."""

    @abstractmethod
    def __call__(self, rows: slice, batch: Batch) -> Found:
        """What is found in the samples of a batch; `rows` are its places in the pass."""

    def __getstate__(self) -> dict[str, Any]:
        strange = {str(one.device) for model in self.models for one in model.parameters()} - {"cpu"}
        if strange:
            raise UsageError(
                f"--engine ray computes on processors, and the model is on {', '.join(strange)}."
                " Pass --device cpu, or leave out --engine ray."
            )
        return {**vars(self), "layouts": [layout_of(model) for model in self.models]}

    def __setstate__(self, state: dict[str, Any]) -> None:
        layouts = state.pop("layouts")
        vars(self).update(state)
        for model, layout in zip(self.models, layouts, strict=True):
            settle_layout(model, layout)


class FeatureReading(ModelReading[Tensor]):
    """Features `[n, d]` of a batch, float32 or float64 on the CPU.

    Args:
        model: unwrapped, in evaluation mode.
        feature_layer: where the features are.
    """

    def __init__(self, model: nn.Module, feature_layer: FeatureLayer) -> None:
        self.model = model
        self.feature_layer = feature_layer

    @property
    def models(self) -> Sequence[nn.Module]:
        """The model."""
        return [self.model]

    def __call__(self, rows: slice, batch: Batch) -> Tensor:
        """Features of a batch; padding is cut first where samples are normalised by their batch."""
        inputs = batch.inputs
        if follows_batch(self.model):
            inputs = first_rows(inputs, len(batch))
        return self._in_parts(inputs)[: len(batch)]

    def _in_parts(self, inputs: Any) -> Tensor:
        """Features, in halves when the device runs out of memory."""
        rows = count_rows(inputs)
        step = rows
        while True:
            try:
                parts = [self._read(_slice(inputs, start, step)) for start in range(0, rows, step)]
                return (
                    (torch.cat(parts) if len(parts) > 1 else parts[0]).float()
                    if parts[0].dtype != torch.float64
                    else torch.cat(parts)
                )
            except torch.OutOfMemoryError as error:
                if step == 1:
                    raise ResourceError(
                        "Out of device memory with a batch of one sample; use --device cpu or"
                        " smaller inputs."
                    ) from error
                step = (step + 1) // 2
                torch.cuda.empty_cache()
            except RuntimeError as error:
                raise out_of_memory(error) or error from error

    def _read(self, inputs: Any) -> Tensor:
        with arranged(self.model, inputs) as arrived:
            return read(self.model, self.feature_layer, arrived)[0].cpu()


def _slice(inputs: Any, start: int, step: int) -> Any:
    if isinstance(inputs, Tensor):
        return inputs[start : start + step]
    if isinstance(inputs, dict):
        return {key: _slice(value, start, step) for key, value in inputs.items()}
    return type(inputs)(_slice(value, start, step) for value in inputs)


def out_of_memory(error: RuntimeError) -> ResourceError | None:
    """The typed error for a failed allocation on the CPU, or None for any other error."""
    if "allocate memory" not in str(error):
        return None
    needed = re.search(r"(\d+) bytes", str(error))
    return ResourceError(
        f"Out of memory{f': {needed[1]} bytes more are needed' if needed else ''}; use a smaller"
        " --batch-size."
    )
