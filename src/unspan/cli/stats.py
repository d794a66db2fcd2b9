"""`unspan stats`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from unspan.cli import options as option
from unspan.errors import UsageError


def stats(
    out: Annotated[Path, typer.Option(help="File to write: statistics.safetensors.")],
    model: Annotated[
        str | None, typer.Option(help="As for unspan erase.", rich_help_panel=option.MODEL)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="The data the model was trained on, as for unspan erase.",
            rich_help_panel=option.DATA,
        ),
    ] = None,
    weights: option.Weights = None,
    num_classes: option.NumClasses = None,
    trust_code: option.TrustCode = False,
    feature_layer: option.FeatureLayer = None,
    pool: option.Pool = None,
    split: Annotated[
        str, typer.Option(help="Split to read.", rich_help_panel=option.DATA)
    ] = "train",
    image_column: option.ImageColumn = None,
    text_column: option.TextColumn = None,
    label_column: option.LabelColumn = None,
    id_column: option.IdColumn = None,
    classes: option.Classes = None,
    size: option.Size = None,
    mean: option.Mean = None,
    std: option.Std = None,
    max_samples: Annotated[
        int,
        typer.Option(min=40, help="Samples to read, drawn at random.", rich_help_panel=option.RUN),
    ] = 50_000,
    drop: Annotated[
        list[str] | None,
        typer.Option(help="With --from: leave out this class (its index); repeat for several."),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", help="A file of statistics to drop classes from, instead of a model and data."
        ),
    ] = None,
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    workers: option.Workers = 0,
    seed: Annotated[
        int, typer.Option(help="Of the draw of samples.", rich_help_panel=option.RUN)
    ] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file of statistics.")
    ] = False,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Write what the training data look like to a model: moments and quantiles of its features, for
    parts of each class; no samples.

    Do it once when a model is trained; a later request then needs the samples to forget only:
    unspan erase ... --forget cat --method resample --set statistics=statistics.safetensors
    The file tells how features of every class lie. Keep it as you keep the data, and drop a class
    once it is forgotten: unspan stats --from statistics.safetensors --drop 4 --out
    statistics.safetensors --overwrite
    """
    options = dict(locals())
    from unspan.cli import render
    from unspan.cli.classes import classes_for
    from unspan.cli.opening import open_model
    from unspan.cli.progress import progress
    from unspan.data.given import as_dataset
    from unspan.data.opening import open_data
    from unspan.extraction import Pool, statistics
    from unspan.run import Run

    _check_output(options)
    console = render.console(quiet)
    if source is not None:
        if model is not None or data is not None or not drop:
            raise UsageError(
                "--from FILE goes with --drop CLASS and --out, without --model and --data."
            )
        held = statistics.load(source)
        gone = _labels(drop, held)
        strange = sorted(set(gone) - set(held.labels.tolist()))
        if strange:
            raise UsageError(
                f"--drop {' '.join(map(str, strange))}: {source} holds {_named(held)}."
            )
        _check_output(options)
        made = held.without(gone).save(out)
        render.facts(console, "Done", [("dropped", ", ".join(drop)), ("written", made)])
        return
    if model is None or data is None or drop:
        raise UsageError(
            "Give --model and --data to write statistics, or --from FILE and --drop CLASS to take a"
            " class out of them."
        )
    opened = open_model(options)
    columns = {
        name: options[name] for name in ("image_column", "text_column", "label_column", "id_column")
    }
    sources = open_data(data, transform=opened.preprocess, **columns)
    if split not in sources:
        raise UsageError(f"--split {split}: the data has {', '.join(sources)}.")
    samples = as_dataset(sources[split])
    samples = classes_for(options, opened, samples).joined(samples)
    with progress(console) as report:
        found = statistics.of_model(
            opened.model,
            samples,
            Run(
                device=device,
                batch_size=batch_size,
                workers=workers,
                seed=seed,
                max_samples=max_samples,
                progress=report,
            ),
            feature_layer=feature_layer,
            pool=cast("Pool | None", pool),
        )
    _check_output(options)
    made = found.save(out)
    kind = "" if bool((found.labels < 0).any()) else f" of {len(found.labels.unique())} classes"
    render.facts(
        console,
        "Done",
        [
            ("clusters", f"{len(found.mean)}{kind}, {found.mean.shape[1]} features"),
            ("samples", int(found.count.sum())),
            ("written", f"{made} (private: it describes the training data)"),
        ],
    )


def _check_output(o: dict[str, Any]) -> None:
    """Before the work and again at its end: only a file of statistics is ever replaced.

    The file that classes are dropped from may be the output, since it should not outlive them.
    """
    from unspan.cli.request import input_paths
    from unspan.extraction import statistics
    from unspan.system.output_paths import check_file

    check_file(
        o["out"],
        statistics.is_file_of_statistics,
        what="a file of statistics",
        overwrite=o["overwrite"],
        inputs=input_paths(o),
    )


def _named(held: Any) -> str:
    labels = sorted(set(held.labels.tolist()) - {-1})
    return (
        f"the classes {', '.join(map(str, labels))}"
        if labels
        else "no classes, only clusters: write it again without those samples"
    )


def _labels(drop: list[str], held: Any) -> list[int]:
    from unspan.data.class_names import find_name

    found = []
    for one in drop:
        named = find_name(one, held.class_names)
        if named is None and not one.lstrip("-").isdecimal():
            known = ", ".join(held.class_names) or "no class names, only indices"
            raise UsageError(f"--drop {one}: the file has {known}; for example --drop 4.")
        found.append(int(one) if named is None else named)
    return found
