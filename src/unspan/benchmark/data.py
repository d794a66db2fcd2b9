"""The datasets of a benchmark by name: from a local folder in any form that is understood, else
from the hub.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

from unspan.benchmark.named_data import NAMED, Named
from unspan.data.class_names import listed_names
from unspan.data.labels import labels_of
from unspan.data.opening import open_data
from unspan.errors import DataError, UsageError
from unspan.system.closest import meant
from unspan.system.user_code import PREFIX

ROOT = "UNSPAN_DATA"


@dataclass(frozen=True)
class Data:
    """A dataset, prepared as a model takes it.

    Attributes:
        train: samples to train on.
        test: samples to report.
        holdout: samples for methods that choose, None where the benchmark has none.
        classes: their names.
        forget: positions of the request that the benchmark defines.
    """

    train: Any
    test: Any
    classes: list[str]
    holdout: Any = None
    forget: tuple[int, ...] | None = field(default=None)


def opened(name: str, root: Path | None, transform: Callable[[Any], Any] | None) -> Data:
    """A dataset by name, or by what `open_data` takes.

    Args:
        name: of `NAMED`, `digits`, or a path, hub id or `python:` factory with a train and a test
            split.
        root: folder that holds a folder of this name; else `$UNSPAN_DATA`.
        transform: preparation of an image.

    Raises:
        UsageError: it is not here; says how to get it.
    """
    if name == "digits":
        return _digits()
    known = NAMED.get(name)
    if known is None:
        refuse_unknown(name)
        return _from_splits(name, open_data(name, transform=transform))
    folder = _folder(name, root)
    if folder is not None:
        found = _from_folder(name, known, folder, transform)
        return _without_names(found) if known.people else found
    if known.hub is None:
        raise UsageError(_nowhere(name, root))
    return _from_hub(name, known, known.hub, _wanted(name, root), transform)


def absence(name: str, root: Path | None) -> str:
    """That a dataset of `NAMED` is not on this machine, and where it is sought then, in a sentence;
    empty where it is here, and for what only opening can tell. Opens nothing.

    Args:
        name: of the dataset.
        root: as for `opened`.
    """
    if name not in NAMED:
        return ""
    if _folder(name, root) is not None:
        return ""
    known = NAMED[name]
    if known.hub is None:
        return _nowhere(name, root)
    return f"Dataset {name} is not in {_wanted(name, root)}; {known.hub} on the hub will be asked."


def is_near(name: str, root: Path | None) -> bool:
    """Whether a dataset can be opened without asking a hub."""
    if name in NAMED:
        return _folder(name, root) is not None
    return name == "digits" or name.startswith(PREFIX) or Path(name).exists()


def refuse_unknown(name: str) -> None:
    """Refuse a word that is no dataset; not a path, a hub id or a `python:` factory.

    Raises:
        UsageError: says what was meant.
    """
    known = ("digits", *NAMED)
    if name in known or re.search(r"[/:.]", name) or Path(name).exists():
        return
    raise UsageError(
        f"Dataset {name} is not known.{meant(name, known)} Give a path, a hub id (OWNER/NAME),"
        f" python:MODULE:FUNCTION, or one of: {', '.join(known)}."
    )


def refuse_missing_root(root: Path | None) -> None:
    """Refuse a folder of datasets that does not exist.

    Raises:
        UsageError: says who named it.
    """
    folder = _root(root)
    if folder is not None and not folder.is_dir():
        by = "--data-root" if root is not None else f"${ROOT}"
        raise UsageError(
            f"{by} {folder}: there is no such folder. Name the folder that holds a folder for each"
            " dataset, or leave it out to ask the hub."
        )


def _root(root: Path | None) -> Path | None:
    return root or (Path(os.environ[ROOT]) if os.environ.get(ROOT) else None)


def _base(name: str) -> str:
    """The name of its folder: three datasets share that of MUCAC."""
    return name.partition("-")[0] if name.startswith("mucac") else name


def _folder(name: str, root: Path | None) -> Path | None:
    """Where a dataset of `NAMED` lies; None where it does not."""
    place = _root(root)
    own = [place / _base(name)] if place else []
    places = (*own, *map(Path, NAMED[name].places))
    return next((folder for folder in places if folder.exists()), None)


def _wanted(name: str, root: Path | None) -> str:
    """The folder that a dataset is to be put into."""
    place, base = _root(root), _base(name)
    return f"{place / base}" if place else f"${ROOT}/{base} (or --data-root)"


def _nowhere(name: str, root: Path | None) -> str:
    return (
        f"Dataset {name} is not here, and no hub may carry it. Get {NAMED[name].get}, and put it"
        f" into {_wanted(name, root)}."
    )


def _from_folder(
    name: str, known: Named, folder: Path, transform: Callable[[Any], Any] | None
) -> Data:
    """A dataset in the files of its authors, or in any form that `open_data` takes."""
    try:
        found = known.reader(folder)
        if found is None:
            label = known.label if any(folder.rglob("*.parquet")) else None
            splits = open_data(str(folder), transform=transform, label_column=label)
            return _from_splits(name, splits)
    except (DataError, OSError, ValueError, KeyError, IndexError) as error:
        raise DataError(
            f"{name} in {folder} is not complete or damaged ({type(error).__name__}: {error})"
            f" Get {known.get}."
        ) from error
    train, test, holdout = (
        None if part is None else part.with_transform(transform)
        for part in (found.train, found.test, found.holdout)
    )
    return Data(train, test, list(found.train.class_names or []), holdout, found.forget)


def _without_names(data: Data) -> Data:
    """The same with numbers in place of people's names."""
    return replace(data, classes=[f"person {number}" for number in range(len(data.classes))])


def _from_hub(
    name: str, known: Named, hub: str, where: str, transform: Callable[[Any], Any] | None
) -> Data:
    try:
        splits = open_data(hub, transform=transform, label_column=known.label)
        return _from_splits(name, splits)
    except UsageError as error:
        raise UsageError(
            f"Dataset {name} is not here, and the hub does not answer ({hub}). Get"
            f" {known.get}, and put it into {where}."
        ) from error


def _from_splits(name: str, found: dict[str, Any]) -> Data:
    test = found.get("test", found.get("validation", found.get("valid")))
    if "train" not in found or test is None:
        raise UsageError(
            f"Dataset {name} has the splits {', '.join(found)}; a benchmark needs train and test."
        )
    names = listed_names(found["train"])
    return Data(
        found["train"],
        test,
        (
            list(names)
            if names
            else [str(label) for label in range(max(labels_of(found["train"])) + 1)]
        ),
    )


def _digits() -> Data:
    """scikit-learn's 1,797 digits, two thirds to train on."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    whole = TensorDataset(
        torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16, torch.tensor(raw.target)
    )
    held = [i for i in range(len(whole)) if i % 3 == 0]
    return Data(
        Subset(whole, [i for i in range(len(whole)) if i % 3]),
        Subset(whole, held),
        [str(i) for i in range(10)],
    )
