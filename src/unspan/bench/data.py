"""The datasets of a benchmark by name: from a local folder in any form that is understood, else from the hub."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset, TensorDataset

from unspan.bench import formats
from unspan.data import open_data
from unspan.errors import UsageError
from unspan.run import Run, batches
from unspan.samples import generator
from unspan.splits import Splits, labels_of

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
    "cifar10": Named("uoft-cs/cifar10", formats.cifar, "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of uoft-cs/cifar10"),
    "cifar100": Named("uoft-cs/cifar100", formats.cifar, "the binary version from https://www.cs.toronto.edu/~kriz/cifar.html, or Parquet files of uoft-cs/cifar100", label="fine_label"),
    "tiny-imagenet": Named("zh-plus/tiny-imagenet", formats.tiny_imagenet, "tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip, unpacked"),
    "fashion-mnist": Named("zalando-datasets/fashion_mnist", formats.idx, "apt install dataset-fashion-mnist (Debian), or the four idx files from https://github.com/zalandoresearch/fashion-mnist", places=("/usr/share/datasets/fashion-mnist",)),
    "lacuna10": Named(None, formats.lacuna, "VGGFace2 (its licence forbids copies on a hub): folders n000001/*.jpg; Lacuna-10 is drawn from them"),
    "mufac": Named(None, formats.mufac, "MUFAC from https://github.com/ndb796/korean_family_dataset, unpacked (custom_train_dataset.csv, train_images/, ...)"),
    **{f"mucac-{name.lower()}": Named(None, partial(formats.mucac, attribute=name), "MUCAC from https://github.com/ndb796/CelebA-HQ-Face-Identity-and-Attributes-Recognition-PyTorch, unpacked (CelebA-HQ-identity.txt, CelebA-HQ-attribute.txt, CelebA-HQ-img/)") for name in ("Male", "Smiling", "Young")},
    "raf-db": Named(None, formats.raf_db, "RAF-DB from http://www.whdeng.cn/raf/model1.html, the basic set (EmoLabel/, Image/aligned/)"),
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
        name: of `NAMED`, `digits`, or a path, hub id or `python:` factory with a train and a test split.
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
        found = known.reader(folder)
        if found is None:
            return _from_splits(name, open_data(str(folder), transform=transform, label_column=_label(folder, known)))
        parts = [None if part is None else part.with_transform(transform) for part in (found.train, found.test, found.holdout)]
        return Data(parts[0], parts[1], list(found.train.class_names or []), parts[2], found.forget)
    where = f"{place / base}" if place else f"$UNSPAN_DATA/{base} (or --data-root)"
    if known.hub is None:
        raise UsageError(f"Dataset {name} is not here, and no hub may carry it. Get {known.get}, and put it into {where}.")
    try:
        return _from_splits(name, open_data(known.hub, transform=transform, label_column=known.label))
    except UsageError as error:
        raise UsageError(f"Dataset {name} is not here, and the hub does not answer ({known.hub}). Get {known.get}, and put it into {where}.") from error


def _label(folder: Path, known: Named) -> str | None:
    """The label column, where the folder holds tables with several."""
    return known.label if any(folder.rglob("*.parquet")) else None


def _from_splits(name: str, found: dict[str, Any]) -> Data:
    test = found.get("test", found.get("validation", found.get("valid")))
    if "train" not in found or test is None:
        raise UsageError(f"Dataset {name} has the splits {', '.join(found)}; a benchmark needs train and test.")
    names = getattr(found["train"], "class_names", None)
    return Data(found["train"], test, list(names) if names else [str(label) for label in range(max(labels_of(found["train"])) + 1)])


def _digits() -> Data:
    """scikit-learn's 1,797 digits, two thirds to train on."""
    from sklearn.datasets import load_digits

    raw = load_digits()
    whole = TensorDataset(torch.tensor(raw.images, dtype=torch.float32)[:, None] / 16, torch.tensor(raw.target))
    held = [i for i in range(len(whole)) if i % 3 == 0]
    return Data(Subset(whole, [i for i in range(len(whole)) if i % 3]), Subset(whole, held), [str(i) for i in range(10)])


def requests(data: Data, request: dict[str, Any], retain: int | None, holdout: float) -> list[Splits]:
    """One `Splits` for every request of a cell, the later ones without what the earlier ones forgot.

    Test samples of everything that is forgotten so far are `test_forget`. Draws are the same for every seed of a method.
    """
    labels = torch.tensor(labels_of(data.train))
    tested = torch.tensor(labels_of(data.test))
    kept, held = _held(data, tested, holdout)
    if "share" in request:
        gone = torch.randperm(len(labels), generator=generator(0, "share"))[: round(request["share"] * len(labels))]
        return [_samples(data, labels, gone, retain, kept, held)]
    if "benchmark" in request:
        if data.forget is None:
            raise UsageError("This dataset defines no request of its own; use classes, share or steps.")
        return [_samples(data, labels, torch.tensor(data.forget), retain, kept, held)]
    steps = request["steps"] if "steps" in request else [request["classes"]]
    asked = [one for step in steps for one in step]
    wrong = [one for one in asked if not 0 <= one < len(data.classes)]
    if wrong:
        raise UsageError(f"Class {wrong[0]} is not one of the {len(data.classes)} of this dataset.")
    never = _some((~torch.isin(labels, torch.tensor(asked))).nonzero()[:, 0], retain)
    found = []
    for number, step in enumerate(steps):
        so_far, later = [torch.tensor([one for part in parts for one in part], dtype=torch.int64) for parts in (steps[: number + 1], steps[number + 1 :])]
        rest = torch.cat([torch.tensor(never), torch.isin(labels, later).nonzero()[:, 0]]).sort().values
        is_forgotten = torch.isin(tested, so_far)
        found.append(Splits(
            forget=Subset(data.train, torch.isin(labels, torch.tensor(step)).nonzero()[:, 0].tolist()), retain=Subset(data.train, _some(rest, retain)),
            test_forget=Subset(data.test, kept[is_forgotten[kept]].tolist()), test_retain=Subset(data.test, kept[~is_forgotten[kept]].tolist()),
            holdout=held, kind="class", selector=tuple(data.classes[one] for one in step), classes=tuple(step),
        ))  # fmt: skip
    return found


def _samples(data: Data, labels: torch.Tensor, gone: torch.Tensor, retain: int | None, kept: torch.Tensor, held: Any) -> Splits:
    rest = torch.ones(len(labels), dtype=torch.bool)
    rest[gone] = False
    return Splits(forget=Subset(data.train, gone.sort().values.tolist()), retain=Subset(data.train, _some(rest.nonzero()[:, 0], retain)), test_retain=Subset(data.test, kept.tolist()), holdout=held, kind="samples", selector=(f"{len(gone)} samples",))


def _held(data: Data, tested: torch.Tensor, holdout: float) -> tuple[torch.Tensor, Any]:
    """Positions of the test set that are reported, and what methods may choose by."""
    if data.holdout is not None or not holdout:
        return torch.arange(len(tested)), data.holdout
    order = torch.randperm(len(tested), generator=generator(0, "holdout"))
    count = round(holdout * len(tested))
    return order[count:].sort().values, Subset(data.test, order[:count].sort().values.tolist())


def _some(places: torch.Tensor, most: int | None) -> list[int]:
    if most is None or len(places) <= most:
        return places.tolist()
    return places[torch.randperm(len(places), generator=generator(0, "retain"))[:most]].sort().values.tolist()


def in_memory(data: Any, run: Run) -> Any:
    """The samples as prepared tensors, if they are tensors and fit; else as they are."""
    if data is None or len(data) == 0:
        return data
    first = next(iter(batches(Subset(data, [0]), run))).inputs
    if not isinstance(first, torch.Tensor) or first[0].numel() * first.element_size() * len(data) > MEMORY:
        return data
    found = list(batches(data, run, shard=False))
    return TensorDataset(torch.cat([one.inputs[: len(one)] for one in found]), torch.cat([one.labels for one in found if one.labels is not None]))
