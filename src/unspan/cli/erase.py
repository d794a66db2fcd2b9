"""`unspan erase`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unspan.errors import DataError, UsageError

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion
    from unspan.data.request import Request
    from unspan.erasure.guard import MaxDrop
    from unspan.run import Run

_MODEL, _DATA, _REQUEST, _METHOD, _RUN = "Model", "Data", "Request", "Method", "Run"

_NAMED = ("p", "rank", "energy", "adaptive", "tau", "lr", "epochs")


def erase(
    model: Annotated[
        str,
        typer.Option(
            help=(
                "timm:NAME, torchvision:NAME, transformers:FOLDER_OR_ID, python:pkg.mod:factory, or"
                " an unspan folder (a further request)."
            ),
            rich_help_panel=_MODEL,
        ),
    ],
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
            rich_help_panel=_DATA,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Weights, .safetensors.", rich_help_panel=_MODEL)
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option(
            help="Outputs of the model; read from the weights by default.", rich_help_panel=_MODEL
        ),
    ] = None,
    trust_code: Annotated[
        bool,
        typer.Option(
            "--trust-code",
            help="Run the code that an unspan folder names to build its python: model.",
            rich_help_panel=_MODEL,
        ),
    ] = False,
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
        str, typer.Option(help="Split that holds the samples to forget.", rich_help_panel=_DATA)
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
            help="Normalisation mean, one number or one a channel: 0.5 or 0.48,0.46,0.41.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="Normalisation deviation.", rich_help_panel=_DATA)
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(help="Class name or index; repeat for several.", rich_help_panel=_REQUEST),
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
        typer.Option(
            help=(
                "Data (like --data) that as a whole must go, for example a folder of one person's"
                " images; with --forget CLASS, the samples of that class."
            ),
            rich_help_panel=_REQUEST,
        ),
    ] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help=(
                "SPLIT or SPLIT:SHARE with samples that no model was trained on, for methods that"
                " choose by them (dlfd, scrub with rewind); they are not measured."
            ),
            rich_help_panel=_DATA,
        ),
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help=(
                "By default resample for a class with data to keep, else esc. One of: resample,"
                " esc, esc-t, leace, retrain, finetune, cf-k, neggrad, neggrad-plus, random-labels,"
                " fisher, scrub, l1-sparse, salun, boundary, lau, bad-teaching, svd, dlfd, bake;"
                " see unspan methods."
            ),
            rich_help_panel=_METHOD,
        ),
    ] = None,
    p: Annotated[
        float | None,
        typer.Option(
            help="ESC: percent of the directions to remove (1.5 by default).",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    rank: Annotated[
        int | None, typer.Option(help="ESC: number of directions instead.", rich_help_panel=_METHOD)
    ] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            help="ESC: fewest directions with this share of the energy instead.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    adaptive: Annotated[
        bool,
        typer.Option(
            "--adaptive",
            help="ESC: stop reading when the directions have converged.",
            rich_help_panel=_METHOD,
        ),
    ] = False,
    tau: Annotated[
        float | None, typer.Option(help="ESC-T: mask threshold (0.7).", rich_help_panel=_METHOD)
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Step size of a method that trains.", rich_help_panel=_METHOD),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs of a method that trains.", rich_help_panel=_METHOD)
    ] = None,
    tune: Annotated[
        int | None,
        typer.Option(
            min=1,
            help=(
                "Try so many settings first and take the best, by validation samples from the data"
                " (never the test split)."
            ),
            rich_help_panel=_METHOD,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Any setting of the method, NAME=VALUE; repeat. unspan methods NAME lists them.",
            rich_help_panel=_METHOD,
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            help="projected: features and scores; folded: scores only, unchanged architecture.",
            rich_help_panel=_METHOD,
        ),
    ] = "projected",
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, mps.", rich_help_panel=_RUN)
    ] = None,
    batch_size: Annotated[int, typer.Option(rich_help_panel=_RUN)] = 64,
    workers: Annotated[int, typer.Option(help="Loader processes.", rich_help_panel=_RUN)] = 0,
    seed: Annotated[int, typer.Option(rich_help_panel=_RUN)] = 0,
    max_samples: Annotated[
        int | None,
        typer.Option(help="Read at most this many forget samples.", rich_help_panel=_RUN),
    ] = None,
    evaluate: Annotated[
        str,
        typer.Option(
            "--eval",
            help=(
                "Splits to measure before and after, comma separated; 'auto' is test if there is"
                " one, else the data; 'none'."
            ),
            rich_help_panel=_RUN,
        ),
    ] = "auto",
    key_file: Annotated[
        Path | None,
        typer.Option(
            help="Secret for the request commitment; a new one by default.", rich_help_panel=_RUN
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an unspan folder.", rich_help_panel=_RUN)
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
            rich_help_panel=_RUN,
        ),
    ] = None,
    allow_overlap: Annotated[
        bool,
        typer.Option(
            "--allow-overlap",
            help="Go on when forget samples stand in the test split too.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    allow_identifying_projector: Annotated[
        bool,
        typer.Option(
            "--allow-identifying-projector",
            help="Write an eraser from very few samples, which can identify them.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    check_labels: Annotated[
        bool,
        typer.Option(
            help="Stop when the model does not recognise the labels to begin with.",
            rich_help_panel=_RUN,
        ),
    ] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Errors only.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the receipt as JSON on standard output.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """Erase a class, a person or samples from a model, and write the new model as a folder.

    Example: unspan erase --model timm:resnet18 --weights w.safetensors --data photos/ --forget cat
    --out erased/
    """
    options = dict(locals())
    from unspan import dist
    from unspan.artifact import check_target
    from unspan.cli.interrupts import interruptible
    from unspan.cli.render import console
    from unspan.cli.request import input_paths

    _max_drop(max_drop)
    options["data"] = data or forget_data
    if options["data"] is None:
        raise UsageError("Give the data with --data, or the samples to forget with --forget-data.")
    options["method"] = _implied(options)
    chosen = _method(options) if options["method"] else None
    check_target(out, overwrite=overwrite, inputs=input_paths(options))
    was_there = _written_at(out)
    with interruptible(lambda: _kept(out, was_there)), dist.session(300.0):
        out_console = console(quiet or dist.rank() != 0)
        _erase(options, chosen, out_console)


def _erase(o: dict[str, Any], settings: Any, out: Any) -> None:
    import warnings

    from unspan import dist
    from unspan.artifact import check_identifying, check_savable
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.progress import progress
    from unspan.cli.request import open_request, refuse_test_overlap, with_holdout
    from unspan.data.loading import size_of
    from unspan.erasure.checks import check_parts
    from unspan.erasure.evaluation import findings
    from unspan.erasure.pipeline import erase as erase_api
    from unspan.erasure.reading import feature_size
    from unspan.methods import EraserMethod, recommended
    from unspan.models import classes_of
    from unspan.run import Run

    own = [name for name in ("size", "mean", "std") if o[name] is not None]
    if own and o["data"].startswith("python:"):
        raise UsageError(
            f"--{own[0]} does not reach {o['data']}: your factory prepares its samples itself."
            " Leave it out."
        )
    opened = open_model(o)
    check_savable(opened.model)
    splits, sources = open_request(o, opened)
    why = ""
    if settings is None:
        earlier = getattr(opened.start, "receipt", None)
        o["method"] = recommended(splits, o["form"], earlier).name
        settings = _method(o)
        why = _why(settings, splits)
    count = size_of(splits.forget, Run(max_samples=o["max_samples"]))
    wanted = _splits_to_measure(o, sources)
    splits, sources = with_holdout(o["holdout"], o["split"], splits, sources)
    dim = feature_size(
        opened.start,
        splits,
        Run(batch_size=2, max_samples=o["max_samples"]),
        feature_layer=o["feature_layer"],
        pool=o["pool"],
    )
    settings.check(dim)
    check_parts(splits, settings.needs, settings.name)
    render.facts(out, "Plan", _plan(o, splits, settings, count, why))
    if count is not None and dist.rank() == 0 and isinstance(settings, EraserMethod):
        check_identifying(
            count,
            settings.rank_for(dim),
            o["allow_identifying_projector"],
        )
    key = _key(o["key_file"])
    overlap = refuse_test_overlap(splits, sources, split=o["split"], allow=o["allow_overlap"])
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
        trials: list[dict[str, Any]] = []
        if o["tune"]:
            settings, trials = _tuned(o, opened.model, splits, run)
        deletion = erase_api(
            opened.start,
            splits,
            settings,
            run,
            feature_layer=o["feature_layer"],
            pool=o["pool"],
            form=o["form"],
            key=key,
            recipe=opened.recipe,
            check_labels=o["check_labels"],
            resume=_resume_folder(o["out"]),
            max_drop=_max_drop(o["max_drop"]),
        )
        deletion.check()
        if hasattr(opened.preprocess, "to_dict") and not o["data"].startswith("python:"):
            deletion.receipt["model"]["preprocess"] = opened.preprocess.to_dict()
        deletion.receipt["notices"] = opened.notices
        if trials:
            deletion.receipt["method"]["trials"] = trials
        deletion.receipt["model"]["class_names"] = _public_names(o, opened, splits)
        deletion.receipt["warnings"] = [*overlap, *deletion.receipt["warnings"]]
        if dist.rank() != 0:
            return
        wider = _measure(
            wanted, o, opened.model, deletion, splits, sources, replace(run, max_samples=None)
        )
        deletion.receipt["evaluation"] += wider
        deletion.receipt["warnings"] += findings(
            wider,
            classes_of(opened.model) or 0,
            _names(sources, opened) if splits.kind == "class" else None,
        )
    deletion.save(
        o["out"],
        overwrite=o["overwrite"],
        allow_identifying_projector=o["allow_identifying_projector"],
    )
    _show(o, deletion, out)


def _implied(o: dict[str, Any]) -> str | None:
    """The method that was named, or the one that an option belongs to."""
    if o["method"] is None and o["tau"] is not None:
        return "esc-t"
    if o["method"] is None and any(
        pair.partition("=")[0].strip() == "statistics" for pair in o["settings"] or []
    ):
        return "resample"
    if o["method"] is None and (
        o["adaptive"] or any(o[name] is not None for name in ("p", "rank", "energy"))
    ):
        return "esc"
    return o["method"]


def _method(o: dict[str, Any]) -> Any:
    from unspan.cli.settings import settings
    from unspan.methods import by_name, configured

    values, said = settings({name: o[name] for name in _NAMED}, o["settings"])
    return configured(by_name(o["method"]), values, said)


def _tuned(
    o: dict[str, Any], model: Any, splits: Request, run: Any
) -> tuple[Any, list[dict[str, Any]]]:
    """The best settings of --tune trials, and the trials."""
    from unspan.cli.settings import settings
    from unspan.erasure.tuning import rows, tune
    from unspan.methods import by_name

    values, _ = settings({name: o[name] for name in _NAMED}, o["settings"])
    method, trials = tune(
        model,
        splits,
        by_name(o["method"]),
        o["tune"],
        run,
        values,
        feature_layer=o["feature_layer"],
        pool=o["pool"],
        check_labels=o["check_labels"],
    )
    return method, rows(trials)


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


def _why(method: Any, splits: Request) -> str:
    from unspan.methods import Resample

    if isinstance(method, Resample) and method.statistics != "retain":
        kept = "the statistics"
        if method.statistics == "head":
            kept = "nothing but the head, and features keep only the answer"
        return f" (chosen: a class must go; of the data to keep it has {kept})"
    if method.name == "resample":
        return (
            " (chosen: a class must go, and there are data to keep; --method bake where users can"
            " ask for altered copies of an image)"
        )
    if not splits.classes and splits.retain is not None:
        return (
            " (chosen for single samples; --method resample leaves less of a person or another"
            " group that has something in common)"
        )
    return " (chosen: resample needs classes and data to keep; see --method)"


def _plan(
    o: dict[str, Any], splits: Request, settings: Any, count: int | None, why: str
) -> list[tuple[str, Any]]:
    from unspan.methods import EraserMethod

    return [
        ("model", o["model"]),
        ("data", o["data"]),
        (
            "forget",
            (
                f"{splits.kind}: {', '.join(splits.selector)}"
                f" ({count if count is not None else 'unknown number of'}"
                f" samples{', one forward pass' if isinstance(settings, EraserMethod) else ''})"
            ),
        ),
        ("reads", ", ".join(sorted(settings.needs)).replace("_", " ")),
        ("method", repr(settings) + why),
        ("form", o["form"]),
        ("output", o["out"]),
    ]


def _max_drop(text: str | None) -> MaxDrop:
    """The limit of --max-drop; its range is checked where it is used."""
    if text is None:
        return "default"
    if text == "none":
        return None
    from unspan.erasure.guard import limit_of

    try:
        return limit_of(float(text), "class")
    except ValueError as error:
        raise UsageError(f"--max-drop {text}: give points, for example 2, or none.") from error


def _key(path: Path | None) -> bytes | None:
    if path is None:
        return None
    from unspan.artifact.receipt import check_key

    try:
        key = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--key-file {path} cannot be read: {error.strerror}.") from error
    return check_key(key)


def _splits_to_measure(o: dict[str, Any], sources: dict[str, Any]) -> list[str]:
    if o["evaluate"] == "none":
        return []
    if o["evaluate"] == "auto":
        return ["test" if "test" in sources else o["split"]]
    unknown = [name for name in o["evaluate"].split(",") if name not in sources]
    if unknown:
        raise UsageError(f"--eval {','.join(unknown)}: the data has {', '.join(sources)}.")
    return str(o["evaluate"]).split(",")


def _public_names(o: dict[str, Any], opened: Any, splits: Request) -> list[str] | None:
    """Class names for the receipt; none where one of them is the name of the data to forget."""
    if splits.kind == "class" or o["forget_data"] is None or opened.class_names is None:
        return opened.class_names
    asked = {part.casefold() for part in Path(o["forget_data"]).parts}
    named = any(name.casefold() in asked for name in opened.class_names)
    return None if named else opened.class_names


def _names(sources: dict[str, Any], opened: Any) -> list[str] | None:
    return getattr(next(iter(sources.values()), None), "class_names", None) or opened.class_names


def _earlier(deletion: Deletion, splits: Request) -> set[int]:
    """Classes that earlier requests on this model erased: they are not data to keep."""
    return {
        label for one in deletion.receipt["previous"] for label in one["request"]["classes"]
    } - set(splits.classes)


def _apart(data: Any, classes: set[int]) -> tuple[Any, Any]:
    """The samples of other classes, and those of `classes`; each None when there are none."""
    from torch.utils.data import Subset

    from unspan.data.request import labels_of

    if not classes or data is None or not _labelled(data):
        return data, None
    labels = labels_of(data)
    split = [
        [i for i, label in enumerate(labels) if (label in classes) is gone]
        for gone in (False, True)
    ]
    kept, gone = (Subset(data, rows) if rows else None for rows in split)
    return kept, gone


def _measure(
    wanted: list[str],
    o: dict[str, Any],
    original: Any,
    deletion: Deletion,
    splits: Request,
    sources: dict[str, Any],
    run: Run,
) -> list[dict[str, Any]]:
    """Accuracy of the model as given and as erased, by split; refused when the original is at
    chance.
    """
    from unspan.erasure.evaluation import Part, accuracy, rows
    from unspan.erasure.reading import pair_of
    from unspan.models import classes_of

    if deletion.receipt["placement"]["feature_layer"]["head"] is None:
        return []
    pair, measured = pair_of(original, deletion.model), []
    for name in wanted:
        parts = splits if name == o["split"] else splits.with_test(sources[name])
        forget, retain = (
            (parts.forget, parts.retain)
            if name == o["split"]
            else (parts.test_forget, parts.test_retain)
        )
        kept, gone = _apart(retain, _earlier(deletion, splits))
        for part, data in ((Part.FORGET, forget), (Part.EARLIER, gone), (Part.RETAIN, kept)):
            if data is not None and _labelled(data):
                what = f"{name} {part.value}"
                measured.append(accuracy(pair, data, what, run, part))
    classes = classes_of(original) or 0
    kept = [row for row in measured if row.part == Part.RETAIN and row.n >= 20]
    if (
        o["check_labels"]
        and classes
        and kept
        and not deletion.receipt["previous"]
        and all(row.before <= min(1.5 / classes, 1 / classes + 0.02) for row in kept)
    ):
        raise DataError(
            f"The original model is right on {kept[0].before:.1%} of the retained samples, about"
            f" chance for {classes} classes: labels or preprocessing look wrong (--mean, --std,"
            " --size). The output was not written; --no-check-labels goes on."
        )
    return rows(measured)


def _labelled(data: Any) -> bool:
    from unspan.data.request import labels_of

    try:
        return min(labels_of(data), default=-1) >= 0
    except UsageError:
        return False


def _show(o: dict[str, Any], deletion: Deletion, out: Any) -> None:
    from unspan.artifact import receipt as receipts
    from unspan.artifact.card import guarded, how, read_of, used_of
    from unspan.cli import render

    account = deletion.receipt
    fit = account["method"]["fit"]
    if account["status"] == "already erased":
        out.print("Already erased: the removed span did not grow. The model is the same.")
    render.facts(
        out,
        "Done",
        [
            ("method", f"{account['method']['name']}, {how(fit)}"),
            ("where", account["placement"]["where"]),
            ("read", f"{read_of(fit)}, in {account['seconds']['total']:.1f} s"),
            ("used", used_of(fit)),
            ("written", o["out"]),
            ("keep secret", f"{o['out']}.private (needed for further requests; never ship it)"),
        ],
    )
    if account["method"].get("trials"):
        render.trials(out, account["method"]["trials"])
    if fit.get("history"):
        render.history(out, fit["history"])
    if account["evaluation"]:
        render.accuracies(out, account["evaluation"], account["model"]["class_names"])
    if "collateral" in account:
        out.print(f"Samples to keep: {guarded(account['collateral'])}.", markup=False)
    if account["access_paths"]:
        render.route_table(out, account["access_paths"])
    render.bullets(out, "Does not protect", account["does_not_protect"])
    render.bullets(out, "Notes", account["notices"])
    render.bullets(out, "Warnings", account["warnings"])
    if o["as_json"]:
        print(receipts.canonical(account), end="")
