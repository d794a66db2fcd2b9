"""What `unspan audit` runs: models and data opened, the audit, its files and its first screen."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.data.class_file import read_class_names
from unspan.data.class_names import listed_names
from unspan.errors import UsageError

_OF_MODELS = (
    "data",
    "weights",
    "num_classes",
    "feature_layer",
    "pool",
    "image_column",
    "text_column",
    "label_column",
    "id_column",
    "size",
    "mean",
    "std",
    "forget_index",
    "forget_ids",
    "forget_data",
    "device",
    "include_images",
    "allow_overlap",
)  # options that say nothing about stored outputs

if TYPE_CHECKING:
    from datetime import date, datetime

    from rich.console import Console
    from torch import nn

    from unspan.auditing.audit import Audit


def run_audit(o: dict[str, Any], out: Console) -> Audit:
    """Open what the options name, measure, write and show.

    Args:
        o: the options by name.
        out: where the first screen is printed.
    """
    from unspan.auditing.audit import audit as audit_api
    from unspan.auditing.identity import Files
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.progress import progress
    from unspan.cli.request import open_request
    from unspan.run import Run

    opened = open_model(o | {"model": o["before"], "trust_code": False})
    erased = _after(o["after"], opened.model)
    references = [_with_weights(opened.model, path) for path in o["reference"] or []]
    splits, sources = open_request(o | {"forget": o["forget"] or _from_receipt(o)}, opened)
    if "test" in sources and o["split"] != "test":
        splits = splits.with_test(sources["test"])
    names = opened.class_names
    if splits.kind == "class":  # else the names of classes in the data may name who asked
        names = listed_names(next(iter(sources.values()))) or names
    with progress(out) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(
            device=o["device"],
            batch_size=o["batch_size"],
            engine=o["engine"],
            workers=o["workers"],
            seed=o["seed"],
            progress=report,
        )
        found = audit_api(
            opened.model,
            erased,
            splits,
            run,
            references=references,
            feature_layer=o["feature_layer"],
            pool=o["pool"],
            class_names=names,
            cache=o["cache"],
            allow_overlap=o["allow_overlap"],
            pictures=o["pictures"],
            include_images=o["include_images"],
            by=o["by"],
            valid_until=_day(o["valid_until"]),
            files=Files(
                erased=o["after"], original=o["weights"], references=tuple(o["reference"] or ())
            ),
        )
    found.save(o["out"])
    render.verdict(out, found.record, o["out"])
    return found


def run_outputs(o: dict[str, Any], out: Console) -> Audit:
    """Audit stored outputs, write and show.

    Args:
        o: the options by name.
        out: where the first screen is printed.
    """
    from unspan.auditing.audit import audit_outputs
    from unspan.cli import render
    from unspan.cli.progress import progress
    from unspan.run import Run

    needless = [name for name in _OF_MODELS if o[name]]
    needless += ["engine"] if o["engine"] != "local" else []
    if needless:
        option = needless[0].replace("_", "-")
        raise UsageError(
            f"--{option} is about models or data, and --outputs gives neither: leave it out."
        )
    names = None if o["classes"] is None else read_class_names(o["classes"])
    classes = [_label(one, names) for one in o["forget"] or []]
    with progress(out) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = audit_outputs(
            o["before"],
            o["after"],
            references=o["reference"] or [],
            classes=classes,
            class_names=names,
            run=Run(seed=o["seed"], progress=report),
            cache=o["cache"],
            pictures=o["pictures"],
            by=o["by"],
            valid_until=_day(o["valid_until"]),
        )
    found.save(o["out"])
    render.verdict(out, found.record, o["out"])
    return found


def _day(given: datetime | None) -> date | None:
    return None if given is None else given.date()


def _label(text: str, names: list[str] | None) -> int:
    """The label of a class that is given as a number, or by name where there are names."""
    if names is not None and text in names:
        return names.index(text)
    if text.isdecimal():
        return int(text)
    raise UsageError(
        f"--forget {text}: with --outputs give the label, a whole number, or a name of --classes."
    )


def kept(cache: Path | None) -> str:
    """What an interrupted audit leaves on disk."""
    from unspan.auditing.collect import default_cache

    folder = cache or default_cache()
    if not folder.is_dir() or not any(folder.iterdir()):
        return "The report was not written."
    return (
        "The report was not written. Outputs that were measured, and the entry in the log of"
        f" audits, are kept in {folder}; the same command goes on from there."
    )


def _after(path: Path, original: nn.Module) -> nn.Module:
    from unspan.artifact import RECEIPT, load
    from unspan.models.copying import copied

    if (path / RECEIPT).is_file():
        return load(path, model=copied(original))
    if path.is_dir():
        raise UsageError(
            f"{path} is not an unspan folder; give one, or a .safetensors file of the same"
            " architecture."
        )
    return _with_weights(original, path)


def _with_weights(original: nn.Module, path: Path) -> nn.Module:
    from unspan.models import load_weights
    from unspan.models.copying import copied

    model = copied(original)
    load_weights(model, path)
    return model.eval()


def _from_receipt(o: dict[str, Any]) -> list[int] | None:
    """The classes that the folder's receipt names, when the command line says nothing else."""
    from unspan.artifact import RECEIPT, inspect

    if (
        any(o[name] for name in ("forget_index", "forget_ids", "forget_data"))
        or not (o["after"] / RECEIPT).is_file()
    ):
        return None
    request = inspect(o["after"])["request"]
    return list(request["classes"]) or None
