"""The data of a command, and what in them is to be forgotten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import DataError, UsageError

if TYPE_CHECKING:
    from unspan.cli.classes import Classes
    from unspan.cli.opening import Opened
    from unspan.data.request import Request
    from unspan.methods import Method

_SELECTORS = ("forget", "forget_index", "forget_ids", "forget_data")


def open_request(options: Mapping[str, Any], opened: Opened) -> tuple[Request, dict[str, Any]]:
    """The forget and retain samples, and all data by the name of their split.

    Args:
        options: values of the command line: `data`, `split`, the four columns, `classes`, `set`,
            and `forget`, `forget_index`, `forget_ids`, `forget_data`, of which exactly one is set;
            `forget` may name the class of `forget_data`. Without `data` the data to forget are all
            there are.
        opened: the model, which says how samples are read and what its classes are called.
    """
    from unspan.cli.classes import classes_for, statistics_file
    from unspan.data.request import Request

    _check_selectors(options)
    sources = {} if _forget_alone(options) else _opened(options["data"], options, opened)
    split = options["split"]
    if sources and split not in sources:
        raise UsageError(f"--split {split}: the data has {', '.join(sources)}.")
    classes = classes_for(options, opened, sources.get(split))
    if (how := classes.how(sources.get(split))) is not None:
        opened.notices.append(how)
    sources = {name: classes.joined(source) for name, source in sources.items()}
    classes = classes.named_by(sources.get(split))
    if options["forget_data"]:
        splits = _from_forget_data(options, opened, classes, sources.get(split))
        return splits, sources or {split: splits.forget}
    data = sources[split]
    whole = statistics_file(options) is not None
    if options["forget"]:
        data = _of_one_class(data, options, classes)
        splits = Request.by_class(
            data,
            options["forget"],
            class_names=classes.names if classes.of(data) is None else None,
            num_classes=classes.count,
            whole=whole,
        )
        return splits, sources | {split: data}
    if options["forget_ids"]:
        return Request.by_ids(data, options["forget_ids"], whole=whole), sources
    return Request.by_index(data, _positions(options["forget_index"]), whole=whole), sources


def columns(options: Mapping[str, Any]) -> dict[str, str | None]:
    """Which columns of a table are read, by the names that `open_data` takes."""
    names = ("image_column", "text_column", "label_column", "id_column")
    return {name: options[name] for name in names}


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


def _check_selectors(options: Mapping[str, Any]) -> None:
    given = [name for name in _SELECTORS if options[name]]
    if given == ["forget", "forget_data"] and len(options["forget"]) == 1:
        return
    if len(given) != 1:
        raise UsageError(
            "Say what to forget with exactly one of --forget CLASS, --forget-index, --forget-ids"
            " FILE, --forget-data DATA; or with --forget-data DATA and --forget CLASS, its class."
        )


def _forget_alone(options: Mapping[str, Any]) -> bool:
    return bool(options["forget_data"]) and options["data"] in (None, options["forget_data"])


def _opened(spec: str, options: Mapping[str, Any], opened: Opened) -> dict[str, Any]:
    from unspan.data.given import as_dataset
    from unspan.data.opening import open_data

    # --forget-data need not be a table of the same columns
    own = columns(options) if spec == options["data"] else {}
    found = open_data(spec, transform=opened.preprocess, **own)
    return {name: as_dataset(data) for name, data in found.items()}


def _of_one_class(data: Any, options: Mapping[str, Any], classes: Classes) -> Any:
    """Images without class folders, in a folder that is called like the one class asked for: all of
    them are of that class.
    """
    from unspan.data.class_names import loosened
    from unspan.data.source import Source

    if not isinstance(data, Source) or data.labels is not None:
        return data
    folder = Path(options["data"]).expanduser().resolve()
    if folder.is_dir() and [loosened(folder.name)] == [
        loosened(str(one)) for one in options["forget"]
    ]:
        return _all_of(data, classes.index(options["forget"][0]), classes)
    raise UsageError(
        f"{options['data']} has no class folders, so --forget {options['forget'][0]} finds nothing"
        " in it. If all of it is of this class, give it as --forget-data as well."
    )


def _all_of(data: Any, label: int, classes: Classes) -> Any:
    names = classes.names or [str(one) for one in range(max(classes.count or 0, label + 1))]
    return data.with_labels([label] * len(data), names)


def _from_forget_data(
    options: Mapping[str, Any], opened: Opened, classes: Classes, main: Any
) -> Request:
    """All samples of `--forget-data`, and those of the main data that are not among them."""
    from unspan.data.class_parts import without_class
    from unspan.data.request import Request

    parts = _opened(options["forget_data"], options, opened)
    if len(parts) > 1:
        raise UsageError(
            f"--forget-data {options['forget_data']} has the splits {', '.join(parts)}; give the"
            " one to forget, for example its folder."
        )
    data = classes.joined_if_known(next(iter(parts.values())))
    if not options["forget"]:
        count = f"{len(data)} samples" if hasattr(data, "__len__") else "data without a length"
        return Request(forget=data, retain=_others(main, data), selector=(count,))
    label = classes.index(options["forget"][0])
    data = _labelled(data, label, options, classes)
    kept = _others(main, data)
    return Request(
        forget=data,
        retain=None if kept is None else without_class(kept, label),
        kind="class",
        selector=(classes.name(label),),
        classes=(label,),
        class_names=tuple(classes.names or ()),
    )


def _labelled(data: Any, label: int, options: Mapping[str, Any], classes: Classes) -> Any:
    """The forget data with the class that they are said to be of."""
    from unspan.data.labels import labels_of
    from unspan.data.source import Source

    if isinstance(data, Source) and data.labels is None:
        return _all_of(data, label, classes)
    strange = sorted(set(labels_of(data)) - {label})
    if strange:
        raise DataError(
            f"--forget-data {options['forget_data']} holds samples of other classes than"
            f" {options['forget'][0]} ({', '.join(classes.name(one) for one in strange[:5])});"
            " give the data of one class, or leave out --forget."
        )
    return data


def _others(data: Any, forget: Any) -> Any:
    """The samples of the main data that are not among the forget data; None when that cannot be
    told.
    """
    from torch.utils.data import Subset

    from unspan.data.overlap import contents_of

    gone, own = (None, None) if data is None else (contents_of(forget), contents_of(data))
    if gone is None or own is None:
        return None
    removed = set(gone)
    kept = [i for i, digest in enumerate(own) if digest not in removed]
    return Subset(data, kept) if kept else None


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
    splits: Request, sources: Mapping[str, Any], *, split: str, allow: bool
) -> list[str]:
    """A forget sample that stands in the test split makes the test figures meaningless; said when
    allowed.
    """
    from unspan.data.request import check_overlap

    if "test" not in sources or split == "test":
        return []
    return check_overlap("forget set and test split", [splits.forget], [sources["test"]], allow)


def with_holdout(
    given: str | None, own: str, splits: Request, sources: dict[str, Any]
) -> tuple[Request, dict[str, Any]]:
    """Take held-out samples from a split, of all classes; what is left of it is measured.

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

    from unspan.training.samples import generator

    data = sources[name]
    chosen = set(
        torch.randperm(len(data), generator=generator(0, "holdout", len(data)))[
            : round(share * len(data))
        ].tolist()
    )
    rest = [i for i in range(len(data)) if i not in chosen]
    left = {key: value for key, value in sources.items() if key != name} | (
        {name: Subset(data, rest)} if rest else {}
    )
    return replace(splits, holdout=Subset(data, sorted(chosen))), left


def held_out_for(method: Method, request: Request) -> Request:
    """The request with the held-out samples that a method chooses by: those of the classes to
    forget, for one that cannot do without them.
    """
    if request.holdout is None or not request.classes or "holdout" not in method.needs:
        return request
    from torch.utils.data import Subset

    from unspan.data.labels import labels_of

    labels = labels_of(request.holdout)
    own = [i for i, label in enumerate(labels) if label in request.classes]
    return replace(request, holdout=Subset(request.holdout, own))
