"""The data of a command, and what in them is to be forgotten."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.cli.opening import Opened
    from unspan.splits import Splits


def open_request(options: Mapping[str, Any], opened: Opened) -> tuple[Splits, dict[str, Any]]:
    """The forget and retain samples, and all data by the name of their split.

    Args:
        options: values of the command line: `data`, `split`, the four columns, and `forget`,
            `forget_index`, `forget_ids`, `forget_data`, of which exactly one is set.
        opened: the model, which says how samples are read and what its classes are called.
    """
    from unspan.data import open_data
    from unspan.models import classes_of
    from unspan.splits import Splits

    given = [
        name for name in ("forget", "forget_index", "forget_ids", "forget_data") if options[name]
    ]
    if len(given) != 1:
        raise UsageError(
            "Say what to forget with exactly one of --forget CLASS, --forget-index, --forget-ids"
            " FILE, --forget-data DATA."
        )
    columns = {
        name: options[name] for name in ("image_column", "text_column", "label_column", "id_column")
    }
    sources = open_data(options["data"], transform=opened.preprocess, **columns)
    sources = {
        name: _relabelled(source, opened.class_names) or source for name, source in sources.items()
    }
    if options["split"] not in sources:
        raise UsageError(f"--split {options['split']}: the data has {', '.join(sources)}.")
    if options["forget_data"]:
        chosen = open_data(options["forget_data"], transform=opened.preprocess)
        data = next(iter(chosen.values()))
        data = _relabelled(
            data, getattr(next(iter(sources.values())), "class_names", None)
        ) or _unlabelled(data)
        count = f"{len(data)} samples" if hasattr(data, "__len__") else "data without a length"
        return (
            Splits(
                forget=data, retain=_others(sources.get(options["split"]), data), selector=(count,)
            ),
            sources,
        )
    data = sources[options["split"]]
    if options["forget"]:
        splits = Splits.by_class(
            data,
            options["forget"],
            class_names=getattr(data, "class_names", None) or opened.class_names,
            num_classes=classes_of(opened.model),
        )
    elif options["forget_ids"]:
        splits = Splits.by_ids(data, options["forget_ids"])
    else:
        splits = Splits.by_index(data, _positions(options["forget_index"]))
    return splits, sources


def input_paths(options: Mapping[str, Any]) -> list[Path]:
    """Files and folders that a command reads, which no output may touch."""
    named = ("weights", "forget_ids", "key_file", "after", "cache", "classes", "deletion")
    found = [options[name] for name in named if options.get(name) is not None]
    found += options.get("reference") or []
    found += [
        setting.partition("=")[2]
        for setting in options.get("settings") or []
        if setting.startswith("statistics=")
    ]
    for name in ("model", "before", "data", "forget_data"):
        spec = options.get(name)
        if spec is None:
            continue
        kind, _, rest = str(spec).partition(":")
        found += [spec, rest.rpartition(":")[0] if kind == "python" else rest]
    return [Path(one) for one in found if str(one) and os.path.exists(one)]


def _relabelled(data: Any, known: list[str] | None) -> Any:
    """Data with its labels as positions in `known`, when every class name of the data is in it;
    else None.
    """
    own = getattr(data, "class_names", None)
    if own is None or data.labels is None or known is None or not set(own) <= set(known):
        return None
    labels = [known.index(own[label]) if label >= 0 else -1 for label in data.labels]
    data = copy.copy(data)
    data.labels, data.class_names = labels, known
    return data


def _others(data: Any, forget: Any) -> Any:
    """The samples of the main data that are not among the forget data; None when that cannot be
    told.
    """
    from torch.utils.data import Subset

    from unspan.splits import digests_of

    gone, own = digests_of(forget), digests_of(data)
    if gone is None or own is None:
        return None
    removed = set(gone)
    kept = [i for i, digest in enumerate(own) if digest not in removed]
    return Subset(data, kept) if kept else None


def _unlabelled(data: Any) -> Any:
    if hasattr(data, "class_names"):
        data = copy.copy(data)
        data.labels = data.class_names = None
    return data


def _positions(text: str) -> list[int]:
    found: list[int] = []
    try:
        for part in text.split(","):
            low, _, high = part.strip().partition("-")
            found += range(int(low), int(high or low) + 1)
    except ValueError as error:
        raise UsageError(
            f"--forget-index {text}: use positions and ranges, for example 3,17,20-29."
        ) from error
    return found


def refuse_test_overlap(
    splits: Splits, sources: Mapping[str, Any], *, split: str, allow: bool
) -> list[str]:
    """A forget sample that stands in the test split makes the test figures meaningless; said when
    allowed.
    """
    from unspan.splits import check_overlap

    if "test" not in sources or split == "test":
        return []
    return check_overlap("forget set and test split", [splits.forget], [sources["test"]], allow)


def with_holdout(
    given: str | None, own: str, splits: Splits, sources: dict[str, Any]
) -> tuple[Splits, dict[str, Any]]:
    """Take held-out samples from a split; what is left of it stays there to be measured.

    Args:
        given: `SPLIT` or `SPLIT:SHARE`, None for no held-out samples.
        own: the split that holds the request, which the model was trained on.
        splits: the request.
        sources: splits of the data.

    Raises:
        UsageError: an unknown split, that of the training data, or a share outside (0, 1).
    """
    if given is None:
        return splits, sources
    name, _, text = given.partition(":")
    if name not in sources or name == own:
        raise UsageError(
            f"--holdout {given}: name a split that the model was not trained on; the data has"
            f" {', '.join(sources)}, and the request is of {own}."
        )
    try:
        share = float(text) if text else 1.0
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise UsageError(
            f"--holdout {given}: the share is a number above 0 and at most 1, for example"
            f" {name}:0.3."
        )
    import torch
    from torch.utils.data import Subset

    from unspan.samples import generator
    from unspan.splits import labels_of

    data = sources[name]
    chosen = set(
        torch.randperm(len(data), generator=generator(0, "holdout", len(data)))[
            : round(share * len(data))
        ].tolist()
    )
    labels = labels_of(data) if splits.classes else None
    held = [i for i in sorted(chosen) if labels is None or labels[i] in splits.classes]
    rest = [i for i in range(len(data)) if i not in chosen]
    left = {key: value for key, value in sources.items() if key != name} | (
        {name: Subset(data, rest)} if rest else {}
    )
    return replace(splits, holdout=Subset(data, held)), left
