"""`unspan stats`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from unspan.cli import options as option
from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.cli.opening import Opened


def stats(
    out: option.OutStatistics,
    model: option.ModelOfStatistics = None,
    data: option.DataOfStatistics = None,
    weights: option.Weights = None,
    num_classes: option.NumClasses = None,
    trust_code: option.TrustCode = False,
    feature_layer: option.FeatureLayer = None,
    pool: option.Pool = None,
    split: option.SplitToRead = "train",
    image_column: option.ImageColumn = None,
    text_column: option.TextColumn = None,
    label_column: option.LabelColumn = None,
    id_column: option.IdColumn = None,
    classes: option.Classes = None,
    size: option.Size = None,
    mean: option.Mean = None,
    std: option.Std = None,
    max_samples: option.MaxDrawn = 50_000,
    drop: option.Drop = None,
    source: option.DropFrom = None,
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    engine: option.EngineName = "local",
    workers: option.Workers = 0,
    seed: option.SeedOfDraw = 0,
    overwrite: option.OverwriteStatistics = False,
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
    _check_output(options)
    from unspan import dist

    with dist.session(300.0):
        if source is None:
            _write(options)
        elif dist.rank() == 0:
            _drop(options)


def _drop(o: dict[str, Any]) -> None:
    """Write a file of statistics again without some classes."""
    from unspan.cli import render
    from unspan.extraction import statistics

    if o["model"] is not None or o["data"] is not None or not o["drop"]:
        raise UsageError(
            "--from FILE goes with --drop CLASS and --out, without --model and --data."
        )
    held = statistics.load(o["source"])
    gone = _labels(o["drop"], held)
    strange = sorted(set(gone) - set(held.labels.tolist()))
    if strange:
        raise UsageError(
            f"--drop {' '.join(map(str, strange))}: {o['source']} holds {_named(held)}."
        )
    _check_output(o)
    made = held.without_classes(gone).save(o["out"])
    console = render.console(o["quiet"])
    render.facts(console, "Done", [("dropped", ", ".join(o["drop"])), ("written", made)])


def _write(o: dict[str, Any]) -> None:
    """Read the features of the training data, and write their statistics."""
    from unspan import dist
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.progress import progress
    from unspan.extraction import Pool, statistics
    from unspan.run import Run

    if o["model"] is None or o["data"] is None or o["drop"]:
        raise UsageError(
            "Give --model and --data to write statistics, or --from FILE and --drop CLASS to take a"
            " class out of them."
        )
    console = render.console(o["quiet"] or dist.rank() != 0)
    opened = open_model(o)
    samples = _samples(o, opened)
    with progress(console) as report:
        run = Run(
            device=o["device"],
            batch_size=o["batch_size"],
            engine=o["engine"],
            workers=o["workers"],
            seed=o["seed"],
            max_samples=o["max_samples"],
            progress=report,
        )
        found = statistics.of_model(
            opened.model,
            samples,
            run,
            feature_layer=o["feature_layer"],
            pool=cast("Pool | None", o["pool"]),
        )
    if dist.rank() != 0:
        return
    _check_output(o)
    made = found.save(o["out"])
    kind = "" if bool((found.labels < 0).any()) else f" of {len(found.labels.unique())} classes"
    rows = [
        ("clusters", f"{len(found.mean)}{kind}, {found.mean.shape[1]} features"),
        ("samples", int(found.count.sum())),
        ("written", f"{made} (private: it describes the training data)"),
    ]
    render.facts(console, "Done", rows)


def _samples(o: dict[str, Any], opened: Opened) -> Any:
    """The split of the data that is read, its classes joined to the outputs of the model."""
    from unspan.cli.classes import classes_for
    from unspan.cli.request import columns
    from unspan.data.given import as_dataset
    from unspan.data.opening import open_data

    sources = open_data(o["data"], transform=opened.preprocess, **columns(o))
    if o["split"] not in sources:
        raise UsageError(f"--split {o['split']}: the data has {', '.join(sources)}.")
    samples = as_dataset(sources[o["split"]])
    return classes_for(o, opened, samples).joined(samples)


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
