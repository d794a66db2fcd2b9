"""`unspan erase`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspan.cli import options as option
from unspan.cli.catalogue import NAMES, complete_method
from unspan.cli.measuring import measure, names_of, public_names, splits_to_measure
from unspan.cli.planning import (
    implied_method,
    key_of,
    max_drop_of,
    method_of,
    plan,
    refuse_unused_preprocessing,
    tuned,
    why,
)
from unspan.cli.showing import show
from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion
    from unspan.cli.opening import Opened
    from unspan.data.request import Request
    from unspan.methods import Method
    from unspan.run import Run


def erase(
    model: option.Model,
    out: Annotated[
        Path, typer.Option(help="Folder to write: model.safetensors, receipt.json, README.md.")
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help=(
                "Folder of images (class/*.jpg), Parquet file or folder, Hugging Face id, or"
                " python:pkg.mod:factory. Not needed beside --forget-data."
            ),
            rich_help_panel=option.DATA,
        ),
    ] = None,
    weights: option.Weights = None,
    num_classes: option.NumClasses = None,
    trust_code: option.TrustCode = False,
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
    forget: option.Forget = None,
    forget_index: option.ForgetIndex = None,
    forget_ids: option.ForgetIds = None,
    forget_data: Annotated[
        str | None,
        typer.Option(
            help=(
                "Data (like --data) that as a whole must go, for example a folder of one person's"
                " images; with --forget CLASS, the samples of that class."
            ),
            rich_help_panel=option.REQUEST,
        ),
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help=(
                "SPLIT or SPLIT:SHARE with samples that no model was trained on, for methods that"
                " choose by them (dlfd, scrub with rewind); they are not measured."
            ),
            rich_help_panel=option.DATA,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=(
                "By default resample for a class with data to keep, else esc. One of:"
                f" {', '.join(NAMES)}; see unspan methods."
            ),
            autocompletion=complete_method,
            rich_help_panel=option.METHOD,
        ),
    ] = None,
    p: Annotated[
        float | None,
        typer.Option(
            help="ESC: percent of the directions to remove (1.5 by default).",
            rich_help_panel=option.METHOD,
        ),
    ] = None,
    rank: Annotated[
        int | None,
        typer.Option(help="ESC: number of directions instead.", rich_help_panel=option.METHOD),
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            help="ESC: fewest directions with this share of the energy instead.",
            rich_help_panel=option.METHOD,
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="ESC: stop reading when the directions have converged.",
            rich_help_panel=option.METHOD,
        ),
    ] = False,
    tau: Annotated[
        float | None,
        typer.Option(help="ESC-T: mask threshold (0.7).", rich_help_panel=option.METHOD),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Step size of a method that trains.", rich_help_panel=option.METHOD),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Epochs of a method that trains.", rich_help_panel=option.METHOD),
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Try so many settings first and take the best, by validation samples from the data"
                " (never the test split)."
            ),
            rich_help_panel=option.METHOD,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any setting of the method, NAME=VALUE; repeat. unspan methods NAME lists them.",
            rich_help_panel=option.METHOD,
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            help="projected: features and scores; folded: scores only, unchanged architecture.",
            rich_help_panel=option.METHOD,
        ),
    ] = "projected",
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    workers: option.Workers = 0,
    seed: option.Seed = 0,
    max_samples: Annotated[
        int | None,
        typer.Option(help="Read at most this many forget samples.", rich_help_panel=option.RUN),
    ] = None,
    evaluate: Annotated[
        str,
        typer.Option(
            "--eval",
            help=(
                "Splits to measure before and after, comma separated; 'auto' is test if there is"
                " one, else the data; 'none'."
            ),
            rich_help_panel=option.RUN,
        ),
    ] = "auto",
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Secret for the request commitment; a new one by default.",
            rich_help_panel=option.RUN,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace an unspan folder.", rich_help_panel=option.RUN),
    ] = False,
    max_drop: Annotated[
        str | None,
        typer.Option(
            metavar="POINTS|none",
            help=(
                "Points of accuracy that the samples to keep may lose, or none to accept any loss;"
                " beyond it the output is not written (exit 7). By default 3 on average for a"
                " class, and 2 in any class for other requests."
            ),
            rich_help_panel=option.RUN,
        ),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Go on when forget samples stand in the test split too.",
            rich_help_panel=option.RUN,
        ),
    ] = False,
    allow_identifying_projector: Annotated[
        bool,
        typer.Option(
            "--allow-identifying-projector",
            help="Write an eraser from very few samples, which can identify them.",
            rich_help_panel=option.RUN,
        ),
    ] = False,
    check_labels: Annotated[
        bool,
        typer.Option(
            help="Stop when the model does not recognise the labels to begin with.",
            rich_help_panel=option.RUN,
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    quiet: option.Quiet = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the receipt as JSON on standard output.")
    ] = False,
    debug: option.Debug = False,
) -> None:
    """Erase a class, a person or samples from a model, and write the new model as a folder.

    Example: unspan erase --model timm:resnet18 --weights w.safetensors --data photos/ --forget cat
    --out erased/
    """
    options = dict(locals())
    from unspan.system.output_paths import check_place

    check_place(out)
    from unspan import dist
    from unspan.artifact import check_target
    from unspan.cli.interrupts import interruptible
    from unspan.cli.render import console
    from unspan.cli.request import input_paths

    max_drop_of(max_drop)
    options["data"] = data or forget_data
    if options["data"] is None:
        raise UsageError("Give the data with --data, or the samples to forget with --forget-data.")
    options["method"] = implied_method(options)
    chosen = method_of(options) if options["method"] else None
    check_target(out, overwrite=overwrite, inputs=input_paths(options))
    was_there = _written_at(out)
    with interruptible(lambda: _kept(out, was_there)), dist.session(300.0):
        out_console = console(quiet or dist.rank() != 0)
        _erase(options, chosen, out_console)


@dataclass(frozen=True)
class _Prepared:
    """Everything a run needs, opened and checked before any work.

    Attributes:
        opened: the model, where it came from, and its preprocessing.
        request: the samples to forget and to keep, the held-out ones taken out.
        sources: the splits of the data by name.
        method: with its settings.
        wanted: names of the splits to measure.
        key: of the request commitment; None for a new one.
        overlap: notes on forget samples that stand in the test split too.
    """

    opened: Opened
    request: Request
    sources: dict[str, Any]
    method: Method
    wanted: list[str]
    key: bytes | None
    overlap: list[str]


def _erase(o: dict[str, Any], method: Method | None, out: Any) -> None:
    """Prepare, print the plan, erase, measure, save, show."""
    import warnings

    from unspan import dist
    from unspan.cli.progress import progress
    from unspan.run import Run

    prepared = _prepared(o, method, out)
    if o["dry_run"]:
        return
    with progress(out) as report, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = Run(
            device=o["device"],
            batch_size=o["batch_size"],
            workers=o["workers"],
            seed=o["seed"],
            max_samples=o["max_samples"],
            progress=report,
        )
        deletion = _deletion(o, prepared, run)
        if dist.rank() != 0:
            return
        _measured(o, prepared, deletion, replace(run, max_samples=None))
    deletion.save(
        o["out"],
        overwrite=o["overwrite"],
        allow_identifying_projector=o["allow_identifying_projector"],
    )
    show(o, deletion, out)


def _prepared(o: dict[str, Any], method: Method | None, out: Any) -> _Prepared:
    from unspan import dist
    from unspan.artifact import check_identifying, check_savable
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.request import open_request, refuse_test_overlap, with_holdout
    from unspan.data.loading import size_of
    from unspan.erasure.checks import check_parts
    from unspan.erasure.reading import feature_size
    from unspan.methods import EraserMethod, recommended
    from unspan.run import Run

    refuse_unused_preprocessing(o)
    opened = open_model(o)
    check_savable(opened.model)
    request, sources = open_request(o, opened)
    reason = ""
    if method is None:
        earlier = getattr(opened.start, "receipt", None)
        o["method"] = recommended(request, o["form"], earlier).name
        method = method_of(o)
        reason = why(method, request)
    count = size_of(request.forget, Run(max_samples=o["max_samples"]))
    wanted = splits_to_measure(o, sources)
    request, sources = with_holdout(o["holdout"], o["split"], request, sources)
    dim = feature_size(
        opened.start,
        request,
        Run(batch_size=2, max_samples=o["max_samples"]),
        feature_layer=o["feature_layer"],
        pool=o["pool"],
    )
    method.check(dim)
    check_parts(request, method.needs, method.name)
    render.facts(out, "Plan", plan(o, request, method, count, reason))
    if count is not None and dist.rank() == 0 and isinstance(method, EraserMethod):
        check_identifying(count, method.rank_for(dim), o["allow_identifying_projector"])
    key = key_of(o["key_file"])
    overlap = refuse_test_overlap(request, sources, split=o["split"], allow=o["allow_overlap"])
    return _Prepared(opened, request, sources, method, wanted, key, overlap)


def _deletion(o: dict[str, Any], prepared: _Prepared, run: Run) -> Deletion:
    """The deletion, with what only the command line knows in its receipt."""
    from unspan.data.preprocess import Preprocess
    from unspan.erasure.pipeline import erase as erase_api

    opened, method = prepared.opened, prepared.method
    trials: list[dict[str, Any]] = []
    if o["tune"]:
        method, trials = tuned(o, opened.model, prepared.request, run)
    deletion = erase_api(
        opened.start,
        prepared.request,
        method,
        run,
        feature_layer=o["feature_layer"],
        pool=o["pool"],
        form=o["form"],
        key=prepared.key,
        recipe=opened.recipe,
        check_labels=o["check_labels"],
        resume=_resume_folder(o["out"]),
        max_drop=max_drop_of(o["max_drop"]),
    )
    deletion.check()
    receipt = deletion.receipt
    if isinstance(opened.preprocess, Preprocess) and not o["data"].startswith("python:"):
        receipt["model"]["preprocess"] = opened.preprocess.to_dict()
    if trials:
        receipt["method"]["trials"] = trials
    receipt["notices"] = opened.notices
    receipt["model"]["class_names"] = public_names(o, opened, prepared.request, prepared.sources)
    receipt["warnings"] = [*prepared.overlap, *receipt["warnings"]]
    return deletion


def _measured(o: dict[str, Any], prepared: _Prepared, deletion: Deletion, run: Run) -> None:
    """Add the splits of `--eval`, and what they show, to the receipt."""
    from unspan.erasure.evaluation import findings
    from unspan.models import classes_of

    opened, request, sources = prepared.opened, prepared.request, prepared.sources
    rows = measure(prepared.wanted, o, opened.model, deletion, request, sources, run)
    names = names_of(sources, opened) if request.kind == "class" else None
    deletion.receipt["evaluation"] += rows
    deletion.receipt["warnings"] += findings(rows, classes_of(opened.model) or 0, names)


def _written_at(out: Path) -> int | None:
    """When the receipt in the output was written, in nanoseconds; None where there is none."""
    from unspan.artifact import RECEIPT

    try:
        return (out / RECEIPT).stat().st_mtime_ns
    except OSError:
        return None


def _kept(out: Path, was_there: int | None) -> str:
    """What an interrupted run leaves on disk."""
    from unspan.training.checkpoint import kept_epochs

    if _written_at(out) not in (None, was_there):
        return f"The output was written already: {out}."
    epochs = kept_epochs(_resume_folder(out))
    if epochs is None:
        return "No output and no epoch were kept: nothing was written."
    return (
        f"The output was not written. {epochs} are kept in {_resume_folder(out)}; the command that"
        " trained them goes on from there."
    )


def _resume_folder(out: Path) -> Path:
    """Where epochs are kept until the run is finished: hidden, beside the output."""
    return out.with_name(f".{out.name}.epochs")
