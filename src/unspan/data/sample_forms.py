"""The forms in which people give samples: which part is the label, what two samples have in common,
how samples become one batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unspan.errors import DataError, UsageError

LABEL_KEYS = ("labels", "label", "target", "targets", "y")
"""Keys of a dict sample that hold its label; the first one that is there counts."""

_ONE_INPUT = {"pixel_values", "image", "img", "x", "input", "inputs"}


def split_sample(sample: Any, *, batched: bool = False) -> tuple[Any, Any]:
    """The input of a sample and its label as stored, None where there is none.

    Args:
        sample: an input; `(input, label)`; `(input, mask, label)`; or a mapping of inputs with one
            of `LABEL_KEYS`. A mapping that holds one image gives that image.
        batched: it is a batch: labels have one axis more.

    Raises:
        UsageError: more than one part could be the label.
    """
    if isinstance(sample, Mapping):
        return _from_mapping(sample, batched)
    if not isinstance(sample, (tuple, list)) or not sample:
        return sample, None
    if len(sample) == 1:
        return _plain(sample[0]), None
    if len(sample) == 2:
        return _plain(sample[0]), sample[1]
    if all(isinstance(part, Number) for part in sample):
        return torch.tensor(sample), None
    scalars = [at for at, part in enumerate(sample) if at > 0 and _is_label(part, batched)]
    if len(scalars) > 1:
        raise UsageError(
            f"A {'batch' if batched else 'sample'} has {len(sample)} parts, and {len(scalars)} of"
            " them could be the label. Give (input, label) pairs, or dicts with a key 'label'."
        )
    if scalars == [len(sample) - 1]:
        return tuple(map(_plain, sample[:-1])), sample[-1]
    return sample, None


def _from_mapping(sample: Mapping[str, Any], batched: bool) -> tuple[Any, Any]:
    keys = [key for key in LABEL_KEYS if key in sample]
    if "labels" in keys and "label" in keys:
        if digest_of(sample["labels"]) != digest_of(sample["label"]):
            raise UsageError(
                "A sample has both 'labels' and 'label', and they differ. Leave out the one that is"
                " not the class."
            )
        keys = ["labels", "label"]
    else:
        keys = keys[:1]
    rest = {
        key: value for key, value in sample.items() if key not in keys and not _is_text(value)
    } or {key: value for key, value in sample.items() if key not in keys}
    label = sample[keys[0]] if keys else None
    return (
        next(iter(rest.values())) if set(rest) <= _ONE_INPUT and len(rest) == 1 else rest
    ), label


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _is_text(value: Any) -> bool:
    """Text never is an input of a network; tables keep it beside the tokens."""
    return isinstance(value, str) or (
        isinstance(value, (list, tuple)) and bool(value) and isinstance(value[0], str)
    )


def _is_label(part: Any, batched: bool) -> bool:
    if isinstance(part, (Tensor, np.ndarray, np.generic)):
        return part.ndim == int(batched)
    return isinstance(part, (Number, str)) or (batched and isinstance(part, list))


def digest_of(value: Any) -> bytes:
    """sha256 of an input: dtype, shape and values of tensors and arrays, pixels of an image."""
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        total = hashlib.sha256(f"{value.dtype}{tuple(value.shape)}".encode())
        total.update(memoryview(value.reshape(-1).view(torch.uint8).numpy()))
        return total.digest()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return digest_of(torch.from_numpy(np.array(value)))
    if isinstance(value, np.ndarray):
        return digest_of([str(value.dtype), value.shape, *value.reshape(-1).tolist()])
    if isinstance(value, Image.Image):
        return hashlib.sha256(f"{value.mode}{value.size}".encode() + value.tobytes()).digest()
    if isinstance(value, Mapping):
        return hashlib.sha256(
            b"".join(str(key).encode() + digest_of(value[key]) for key in sorted(value, key=str))
        ).digest()
    if isinstance(value, (tuple, list)):
        return hashlib.sha256(b"".join(map(digest_of, value))).digest()
    return hashlib.sha256(repr(value).encode()).digest()


def stacked(
    values: Sequence[Any], names: Sequence[str], collate: Callable[[list[Any]], Any]
) -> Any:
    """One batch of samples.

    Args:
        values: inputs; those behind the last name are padding.
        names: where a person finds each.
        collate: makes the batch.

    Raises:
        DataError: samples of different size, or that are no tensors; names one.
    """
    try:
        batch = collate(list(values))
    except (RuntimeError, TypeError) as error:
        reason = _unlike(values[: len(names)], names)
        if reason is None:
            raise
        raise DataError(reason) from error
    if isinstance(batch, list) and batch and isinstance(batch[0], str):
        raise DataError(f"{names[0]} is text. Give the data a transform that makes tokens of it.")
    return batch


def _unlike(values: Sequence[Any], names: Sequence[str]) -> str | None:
    for value, name in zip(values, names, strict=True):
        if isinstance(value, Image.Image):
            return (
                f"{name} is a PIL image ({value.mode}, {value.width} x {value.height}). Give the"
                " data a transform that makes the tensor the model takes, for example"
                " unspan.data.preprocess.Preprocess or torchvision's weights.transforms()."
            )
    shapes = [_shape(value) for value in values]
    for shape, name in zip(shapes, names, strict=True):
        if shape != shapes[0]:
            return (
                f"{name} has size {shape} and {names[0]} has {shapes[0]}: the samples of a batch"
                " need one size. Resize images with --size N, or in the transform of the data."
            )
    return None


def _shape(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shape(one)}" for key, one in sorted(value.items()))
    if isinstance(value, (Tensor, np.ndarray)):
        return " x ".join(map(str, value.shape)) or "one number"
    if isinstance(value, (tuple, list)):
        return f"({', '.join(map(_shape, value))})" if len(value) < 5 else f"{len(value)} values"
    return type(value).__name__
