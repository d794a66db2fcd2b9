"""`unspan audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspan.errors import ModelError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from unspan.auditing.audit import Audit

_MODEL, _DATA, _REQUEST, _RUN = "Models", "Data", "Request", "Run"
_EXIT = {"RETAINED": 6, "INCONCLUSIVE": 7, "NOT MEASURABLE": 7}
_FAILS = {
    "never": (),
    "retained": ("RETAINED",),
    "inconclusive": ("RETAINED", "INCONCLUSIVE", "NOT MEASURABLE"),
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
            rich_help_panel=_DATA,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write: report.html, report.md, audit.json.")],
    weights: Annotated[
        Path | None,
        typer.Option(help="Weights of the original, .safetensors.", rich_help_panel=_MODEL),
    ] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            help=(
                "Weights of a model trained without the forgotten data, best several (repeat)."
                " Random weights serve otherwise."
            ),
            rich_help_panel=_MODEL,
        ),
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            help="Outputs of the model; read from the weights by default.", rich_help_panel=_MODEL
        ),
    ] = None,
    feature_layer: Annotated[
        str | None,
        typer.Option(
            help="Where the features are: HEAD, NAME:out, output, output:KEY. Found by default.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            help="cls, mean or gap, when the features are tokens or maps.", rich_help_panel=_MODEL
        ),
    ] = None,
    split: Annotated[
        str, typer.Option(help="Split that holds the forgotten samples.", rich_help_panel=_DATA)
    ] = "train",
    image_column: Annotated[str | None, typer.Option(rich_help_panel=_DATA)] = None,
    text_column: Annotated[str | None, typer.Option(rich_help_panel=_DATA)] = None,
    label_column: Annotated[str | None, typer.Option(rich_help_panel=_DATA)] = None,
    id_column: Annotated[
        str | None, typer.Option(help="Column that --forget-ids refers to.", rich_help_panel=_DATA)
    ] = None,
    classes: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Names of the model's outputs, one a line in order (or JSON); the classes of the"
                " data are joined to them by name."
            ),
            rich_help_panel=_DATA,
        ),
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(
            help="Resize the shorter side and crop the centre to this size.", rich_help_panel=_DATA
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(
            help="Normalisation mean, one number or one a channel.", rich_help_panel=_DATA
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Normalisation deviation.", rich_help_panel=_DATA)
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            help="Class name or index; read from the receipt of an unspan folder by default.",
            rich_help_panel=_REQUEST,
        ),
    ] = None,
    forget_index: Annotated[
        str | None, typer.Option(help="Sample positions: 3,17,20-29.", rich_help_panel=_REQUEST)
    ] = None,
    forget_ids: Annotated[
        Path | None,
        typer.Option(
            help="CSV or text file of ids, file names or positions.", rich_help_panel=_REQUEST
        ),
    ] = None,
    forget_data: Annotated[
        str | None,
        typer.Option(help="Data that as a whole was forgotten.", rich_help_panel=_REQUEST),
    ] = None,
    fail_on: Annotated[
        str,
        typer.Option(
            help=(
                "never, retained (exit 6) or inconclusive (also exit 7), so that a release can be"
                " gated."
            ),
            rich_help_panel=_RUN,
        ),
    ] = "never",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps.", rich_help_panel=_RUN)
    ] = None,
    batch_size: Annotated[int, typer.Option(rich_help_panel=_RUN)] = 64,
    workers: Annotated[int, typer.Option(help="Loader processes.", rich_help_panel=_RUN)] = 0,
    seed: Annotated[int, typer.Option(rich_help_panel=_RUN)] = 0,
    cache: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Folder for model outputs, so that a second audit runs no forward pass; holds"
                " features of your data."
            ),
            rich_help_panel=_RUN,
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Draw t-SNE embeddings.", rich_help_panel=_RUN)
    ] = True,
    gradcam: Annotated[
        int,
        typer.Option(
            min=0,
            help=(
                "Show so many forgotten test images with the regions either model uses (needs"
                " captum). The report then holds these images."
            ),
            rich_help_panel=_RUN,
        ),
    ] = 0,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Go on when test samples stand in the training data.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Replace an earlier audit in --out.", rich_help_panel=_RUN
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print audit.json on standard output.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
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
            reference=references,
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
    render.verdict(out, found.account, o["out"])
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
