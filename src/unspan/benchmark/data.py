"""The datasets of a benchmark by name: from a local folder in any form that is understood, else
from the hub.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

from unspan.benchmark import formats
from unspan.data.loading import batches
from unspan.data.opening import open_data
from unspan.data.request import Request, labels_of
from unspan.errors import DataError, UsageError
from unspan.run import Run
from unspan.training.samples import generator

MEMORY = 2 * 2**30  # bytes of prepared inputs that are kept in memory
ROOT = "UNSPAN_DATA"


@dataclass(frozen=True)
class Named:
    """A dataset that specs call by name.

    Attributes:
        hub: id on the Hugging Face hub, None where its licence keeps it from there.
        reader: of the files its authors publish.
        get: how a person gets it.
        label: column of the hub's table, where there are several.
        places: folders that are looked in beside the root.
    """

    hub: str | None
    reader: formats.Reader
    get: str
    label: str | None = None
    places: tuple[str, ...] = ()


NAMED: dict[str, Named] = {
    "cifar10": Named(
        "uoft-cs/cifar10",
        formats.cifar,
        "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of"
        " uoft-cs/cifar10",
    ),
    "cifar100": Named(
        "uoft-cs/cifar100",
        formats.cifar,
        "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of"
        " uoft-cs/cifar100",
        label="fine_label",
    ),
    "tiny-imagenet": Named(
        "zh-plus/tiny-imagenet",
        formats.tiny_imagenet,
        "tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked",
    ),
    "fashion-mnist": Named(
        "zalando-datasets/fashion_mnist",
        formats.idx,
        "apt install dataset-fashion-mnist (Debian), or the four idx files from"
        " https://github.com/zalandoresearch/fashion-mnist",
        places=("/usr/share/datasets/fashion-mnist",),
    ),
    "lacuna10": Named(
        None,
        formats.lacuna,
        "VGGFace2 (its licence forbids copies on a hub): folders n000001/*.jpg; Lacuna-10 is drawn"
        " from them",
    ),
    "mufac": Named(
        None,
        formats.mufac,
        "MUFAC from https://github.com/ndb796/korean_family_dataset, unpacked"
        " (custom_train_dataset.csv, train_images/, ...)",
    ),
    **{
        f"mucac-{name.lower()}": Named(
            None,
            partial(formats.mucac, attribute=name),
            "MUCAC from"
            " https://github.com/ndb796/CelebA-HQ-Face-Identity-and-Attributes-Recognition-PyTorch,"
            " unpacked (CelebA-HQ-identity.txt, CelebA-HQ-attribute.txt, CelebA-HQ-img/)",
        )
        for name in ("Male", "Smiling", "Young")
    },
    "raf-db": Named(
        None,
        formats.raf_db,
        "RAF-DB from http://www.whdeng.cn/raf/model1.html, the basic set (EmoLabel/,"
        " Image/aligned/)",
    ),
}


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
    place = root or (Path(os.environ[ROOT]) if os.environ.get(ROOT) else None)
    if known is None:
        return _from_splits(name, open_data(name, transform=transform))
    base = name.partition("-")[0] if name.startswith("mucac") else name
    for folder in [*([place / base] if place else []), *map(Path, known.places)]:
        if not folder.exists():
            continue
        try:
            found = known.reader(folder)
            if found is None:
                return _from_splits(
                    name,
                    open_data(str(folder), transform=transform, label_column=_label(folder, known)),
                )
        except (DataError, OSError, ValueError, KeyError, IndexError) as error:
            raise DataError(
                f"{name} in {folder} is not complete or damaged ({type(error).__name__}: {error})"
                f" Get {known.get}."
            ) from error
        parts = [
            None if part is None else part.with_transform(transform)
            for part in (found.train, found.test, found.holdout)
        ]
        return Data(parts[0], parts[1], list(found.train.class_names or []), parts[2], found.forget)
    where = f"{place / base}" if place else f"$UNSPAN_DATA/{base} (or --data-root)"
    if known.hub is None:
        raise UsageError(
            f"Dataset {name} is not here, and no hub may carry it. Get {known.get}, and put it into"
            f" {where}."
        )
    try:
        return _from_splits(
            name, open_data(known.hub, transform=transform, label_column=known.label)
        )
    except UsageError as error:
        raise UsageError(
            f"Dataset {name} is not here, and the hub does not answer ({known.hub}). Get"
            f" {known.get}, and put it into {where}."
        ) from error


def _label(folder: Path, known: Named) -> str | None:
    """The label column, where the folder holds tables with several."""
    return known.label if any(folder.rglob("*.parquet")) else None


def _from_splits(name: str, found: dict[str, Any]) -> Data:
    test = found.get("test", found.get("validation", found.get("valid")))
    if "train" not in found or test is None:
        raise UsageError(
            f"Dataset {name} has the splits {', '.join(found)}; a benchmark needs train and test."
        )
    names = getattr(found["train"], "class_names", None)
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


def requests(
    data: Data,
    request: dict[str, Any],
    retain: int | None,
    holdout: float,
    *,
    whole_forget: bool = True,
) -> list[Request]:
    """One `Request` for every request of a cell, the later ones without what the earlier ones
    forgot.

    Test samples of everything that is forgotten so far are `test_forget`. Draws are the same for
    every seed of a method, and
    made once: the retained samples of a later request are those of the first without what was
    forgotten since.

    Args:
        data: the dataset.
        request: `classes`, `share`, `benchmark` or `steps`.
        retain: largest number of retained training samples at the first request.
        holdout: share of the test set that is set aside for methods that choose.
        whole_forget: keep all samples to be forgotten; otherwise as small a part of them as of the
            retained ones, so that a network that is trained on both sees every class as often as
            before.

    Raises:
        UsageError: a class that is not there, or nothing would remain.
    """
    labels, tested = torch.tensor(labels_of(data.train)), torch.tensor(labels_of(data.test))
    kept, held = _held(data, tested, holdout)
    if "steps" not in request and "classes" not in request:
        gone = _gone(data, len(labels), request)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[gone] = False
        chosen, share = _some(rest.nonzero()[:, 0], retain)
        gone = gone if whole_forget else _part(gone, share, 0)
        return [
            Request(
                forget=Subset(data.train, gone.sort().values.tolist()),
                retain=Subset(data.train, chosen.tolist()),
                test_retain=Subset(data.test, kept.tolist()),
                holdout=held,
                kind="samples",
                selector=(f"{len(gone)} samples",),
            )
        ]
    steps = request["steps"] if "steps" in request else [request["classes"]]
    asked = [one for step in steps for one in step]
    wrong = [one for one in asked if not 0 <= one < len(data.classes)]
    if wrong or set(asked) >= set(range(len(data.classes))):
        raise UsageError(
            f"Class {wrong[0]} is not one of the {len(data.classes)} of this dataset."
            if wrong
            else f"The requests name all {len(data.classes)} classes: nothing would remain."
        )
    chosen, share = _some((~torch.isin(labels, torch.tensor(steps[0]))).nonzero()[:, 0], retain)
    found = []
    for number, step in enumerate(steps):
        so_far = torch.tensor([one for part in steps[: number + 1] for one in part])
        own = torch.isin(labels, torch.tensor(step)).nonzero()[:, 0]
        if not whole_forget:
            own = (
                _part(own, share, 0)
                if number == 0
                else chosen[torch.isin(labels[chosen], torch.tensor(step))]
            )
        is_forgotten = torch.isin(tested, so_far)
        found.append(
            Request(
                forget=Subset(data.train, own.tolist()),
                retain=Subset(data.train, chosen[~torch.isin(labels[chosen], so_far)].tolist()),
                test_forget=Subset(data.test, kept[is_forgotten[kept]].tolist()),
                test_retain=Subset(data.test, kept[~is_forgotten[kept]].tolist()),
                holdout=held,
                kind="class",
                selector=tuple(data.classes[one] for one in step),
                classes=tuple(step),
            )
        )
    return found


def _gone(data: Data, n: int, request: dict[str, Any]) -> torch.Tensor:
    """Positions of a request of samples."""
    if "share" in request:
        return torch.randperm(n, generator=generator(0, "share"))[
            : max(1, round(request["share"] * n))
        ]
    if data.forget is None:
        raise UsageError("This dataset defines no request of its own; use classes, share or steps.")
    return torch.tensor(data.forget)


def _held(data: Data, tested: torch.Tensor, holdout: float) -> tuple[torch.Tensor, Any]:
    """Positions of the test set that are reported, and what methods may choose by."""
    if data.holdout is not None or not holdout:
        return torch.arange(len(tested)), data.holdout
    order = torch.randperm(len(tested), generator=generator(0, "holdout"))
    count = round(holdout * len(tested))
    return order[count:].sort().values, Subset(data.test, order[:count].sort().values.tolist())


def _some(places: torch.Tensor, most: int | None) -> tuple[torch.Tensor, float]:
    """At most so many of the positions, in order, and what share of them that is."""
    if most is None or len(places) <= most:
        return places, 1.0
    return places[
        torch.randperm(len(places), generator=generator(0, "retain"))[:most]
    ].sort().values, most / len(places)


def _part(places: torch.Tensor, share: float, step: int) -> torch.Tensor:
    """A share of the positions to be forgotten, in order."""
    if share >= 1:
        return places
    return (
        places[
            torch.randperm(len(places), generator=generator(0, "forget", step))[
                : max(1, round(share * len(places)))
            ]
        ]
        .sort()
        .values
    )


def pooled(parts: Sequence[Any], run: Run) -> tuple[Any, list[Any]]:
    """Subsets of one dataset, read once: all their samples in the dataset's order, and every part
    as a view of these.

    Args:
        parts: `Subset` of the same dataset, or None.
        run: batch size, progress.
    """
    known = [part for part in parts if part is not None]
    places = sorted({i for part in known for i in part.indices})
    pool = in_memory(Subset(known[0].dataset, places), run)
    where = {i: place for place, i in enumerate(places)}
    return pool, [
        None if part is None else Subset(pool, [where[i] for i in part.indices]) for part in parts
    ]


def in_memory(data: Any, run: Run) -> Any:
    """The samples as prepared tensors, if they are tensors and fit; else as they are."""
    if data is None or len(data) == 0:
        return data
    first = next(iter(batches(Subset(data, [0]), run))).inputs
    if (
        not isinstance(first, torch.Tensor)
        or first[0].numel() * first.element_size() * len(data) > MEMORY
    ):
        return data
    found = list(batches(data, run, shard=False))
    return TensorDataset(
        torch.cat([one.inputs[: len(one)] for one in found]),
        torch.cat([one.labels for one in found if one.labels is not None]),
    )
