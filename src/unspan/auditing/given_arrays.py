"""The arrays of a file of outputs, each checked as it is read: kind, numbers and names.

`auditing.given_outputs` says which arrays there are, and what they mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile, is_zipfile

import numpy as np
import torch
from torch import Tensor

from unspan.errors import DataError, UsageError

PARTS = ("fit", "test")
NAMES = ("features", "scores", "labels", "forget")
SUM_TOLERANCE = 1e-2  # of a row of probabilities, wide enough for float16
_KNOWN = [f"{part}_{name}" for part in PARTS for name in NAMES]
_HOW = "Write it with numpy.savez, one array for each name; see 'Outputs alone' in docs/recipes.md."

Arrays = Mapping[str, Tensor]


def read_arrays(path: Path) -> dict[str, Tensor]:
    """Features and scores as float32, labels as int64, marks as bool, by name.

    Args:
        path: of a `.npz` file.

    Raises:
        UsageError: a file that cannot be read, or whose arrays have names that no audit reads.
        DataError: an array of another kind, or with numbers that cannot be used.
    """
    stored = _stored(path)
    odd = sorted(name for name in stored if name.startswith(("fit", "test")))
    odd = [name for name in odd if name not in _KNOWN]
    if odd:
        raise UsageError(
            f"{path} has the array {odd[0]}, which no audit reads. The names are"
            f" {', '.join(_KNOWN)}. Rename it or leave it out."
        )
    return {name: _checked(path, name, stored[name]) for name in _KNOWN if name in stored}


def refuse_probabilities(path: Path, name: str, scores: Tensor) -> None:
    """Probabilities look like logits of a model that is sure of nothing (DataError).

    Args:
        path: of the file.
        name: of the array.
        scores: `[n, C]`.
    """
    sums = scores.sum(1)
    if bool((scores >= 0).all()) and bool(((sums - 1).abs() <= SUM_TOLERANCE).all()):
        raise DataError(
            f"{path}: {name} holds probabilities: no number is negative and each row adds up to 1."
            " Give logits or log-probabilities, such as numpy.log(numpy.clip(p, 1e-12, None))."
        )


def _stored(path: Path) -> dict[str, np.ndarray]:
    """Every array whose name an audit may read, as it is stored."""
    if not path.exists():
        raise UsageError(f"{path} does not exist; give a .npz file of outputs.")
    if not path.is_file() or not is_zipfile(path):
        raise DataError(f"{path} cannot be read as outputs: it is no .npz file. {_HOW}")
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored if name.startswith(PARTS)}
    except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
        reason = str(error).rstrip(".")
        raise DataError(f"{path} cannot be read as outputs: {reason}. {_HOW}") from error


def _checked(path: Path, name: str, found: np.ndarray) -> Tensor:
    """One array in the type that an audit computes with."""
    what = name.split("_")[1]
    if not found.ndim or not len(found):
        raise DataError(f"{path}: {name} holds no samples; give one row a sample.")
    if what == "forget":
        return _marks(path, name, found)
    if what == "labels":
        return _labels(path, name, found)
    if found.dtype.kind not in "biuf":
        raise _of_kind(path, name, found, "give real numbers")
    with np.errstate(over="ignore"):
        values = torch.from_numpy(np.array(found, dtype=np.float32))
    if not bool(torch.isfinite(values).all()):
        raise DataError(
            f"{path}: {name} holds NaN, infinity or numbers beyond float32. Give finite numbers."
        )
    return values


def _labels(path: Path, name: str, found: np.ndarray) -> Tensor:
    how = "give whole numbers from 0, in the order of the scores"
    if found.dtype.kind not in "iuf":
        raise _of_kind(path, name, found, how)
    whole = np.isfinite(found) & (found >= 0) & (found == np.floor(found))
    if not whole.all():
        raise DataError(f"{path}: {name} holds {found[~whole].flat[0]}; {how}.")
    return torch.from_numpy(np.array(found, dtype=np.int64))


def _marks(path: Path, name: str, found: np.ndarray) -> Tensor:
    if found.dtype.kind not in "biuf" or not np.isin(found, (0, 1)).all():
        raise _of_kind(path, name, found, "give true or false for each sample")
    return torch.from_numpy(np.array(found, dtype=bool))


def _of_kind(path: Path, name: str, found: np.ndarray, how: str) -> DataError:
    return DataError(f"{path}: {name} is an array of {found.dtype}; {how}.")
