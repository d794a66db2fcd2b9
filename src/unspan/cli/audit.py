"""`unspan audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspan.audit_record.vocabulary import Verdict
from unspan.cli import options as option
from unspan.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from unspan.auditing.audit import Audit

_EXIT = {Verdict.RETAINED: 6, Verdict.INCONCLUSIVE: 7, Verdict.NOT_MEASURABLE: 7}
_FAILS: dict[str, set[Verdict]] = {
    "never": set(),
    "retained": {Verdict.RETAINED},
    "inconclusive": set(_EXIT),
}


def audit(
    before: Annotated[
        str,
        typer.Argument(
            help=(
                "The original: timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID or"
                " python:pkg.mod:factory."
            )
        ),
    ],
    after: Annotated[
        Path,
        typer.Argument(
            help=(
                "The erased model: an unspan folder, or weights (.safetensors) of the same"
                " architecture."
            )
        ),
    ],
    data: Annotated[
        str,
        typer.Option(
            help=(
                "Folder of images (class/*.jpg), Parquet file or folder, Hugging Face id, or"
                " python:pkg.mod:factory; with a test split if there is one."
            ),
            rich_help_panel=option.DATA,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: report.html, report.md, audit.json.")],
    weights: option.Weights = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help=(
                "Weights of a model trained without the forgotten data, best several (repeat)."
                " Random weights serve otherwise."
            ),
            rich_help_panel=option.MODEL,
        ),
    ] = None,
    num_classes: option.NumClasses = None,
    feature_layer: option.FeatureLayer = None,
    pool: option.Pool = None,
    split: option.Split = "train",
    image_column: option.ImageColumn = None,
    text_column: option.TextColumn = None,
    label_column: option.LabelColumn = None,
    id_column: option.IdColumn = None,
    classes: option.Classes = None,
    size: option.Size = None,
    mean: option.Mean = None,
    std: option.Std = None,
    forget: option.ForgetOfReceipt = None,
    forget_index: option.ForgetIndex = None,
    forget_ids: option.ForgetIds = None,
    forget_data: option.ForgottenData = None,
    fail_on: Annotated[
        str,
        typer.Option(
            help=(
                "never, retained (exit 6) or inconclusive (also exit 7), so that a release can be"
                " gated."
            ),
            rich_help_panel=option.RUN,
        ),
    ] = "never",
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    workers: option.Workers = 0,
    seed: option.Seed = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder for model outputs, so that a second audit runs no forward pass; holds"
                " features of your data."
            ),
            rich_help_panel=option.RUN,
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Draw t-SNE embeddings.", rich_help_panel=option.RUN)
    ] = True,
    gradcam: Annotated[
        int,
        typer.Option(
            min=0,
            help=(
                "Show so many forgotten test images with the regions either model uses (needs"
                " captum). The report then holds these images."
            ),
            rich_help_panel=option.RUN,
        ),
    ] = 0,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Go on when test samples stand in the training data.",
            rich_help_panel=option.RUN,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier audit in --out.", rich_help_panel=option.RUN
        ),
    ] = False,
    quiet: option.Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print audit.json on standard output.")
    ] = False,
    debug: option.Debug = False,
) -> None:
    """Measure what an attacker can still get from an erased model, and write a report.

    Example: unspan audit timm:resnet18 erased/ --weights w.safetensors --data photos/ --out audit/
    """
    options = dict(locals())
    if fail_on not in _FAILS:
        raise UsageError(f"--fail-on {fail_on}: use {', '.join(_FAILS)}.")
    from unspan.auditing.write import check_target
    from unspan.cli.interrupts import interruptible
    from unspan.cli.render import console
    from unspan.cli.request import input_paths
    from unspan.system.output_paths import refuse_inside

    inputs = input_paths(options | {"cache": None})
    check_target(out, overwrite, inputs)
    if cache is not None:
        refuse_inside(cache, inputs)
    shown = console(quiet)
    with interruptible(lambda: _kept(cache)):
        found = _audit(options, shown)
    if as_json:
        print(found.to_json(), end="")
    if found.verdict in _FAILS[fail_on]:
        raise typer.Exit(_EXIT[found.verdict])
    if fail_on != "never" and not found.trusted:
        console(False).print(
            "The audit cannot be relied on: a self-test failed, or the reference cannot serve as"
            " one. The gate stays closed (exit 7)."
        )
        raise typer.Exit(7)


def _audit(o: dict[str, Any], out: Any) -> Audit:
    import warnings

    from unspan.auditing.audit import audit as audit_api
    from unspan.auditing.write import check_target
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
        names = getattr(next(iter(sources.values())), "class_names", None) or names
    with progress(out) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(
            device=o["device"],
            batch_size=o["batch_size"],
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
            gradcam=o["gradcam"],
        )
    check_target(o["out"], o["overwrite"], [])  # another audit may have been written meanwhile
    found.save(o["out"])
    render.verdict(out, found.record, o["out"])
    return found


def _kept(cache: Path | None) -> str:
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
    try:
        load_weights(model, path)
    except ModelError as error:
        raise error if path.name in str(error) else ModelError(f"{path.name}: {error}") from error
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
