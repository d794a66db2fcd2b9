"""What `unspan erase` does: prepare, print the plan, erase, measure, save and show."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.cli.measuring import (
    measure,
    names_of,
    outputs_of,
    public_names,
    splits_to_measure,
    step_of,
)
from unspan.cli.planning import (
    implied_method,
    key_of,
    max_drop_of,
    method_of,
    names_statistics,
    plan,
    refuse_unused_preprocessing,
    tuned,
    why,
)
from unspan.cli.showing import show
from unspan.errors import UsageError
from unspan.system.against import as_against
from unspan.system.steps import Step
from unspan.system.target import as_target

if TYPE_CHECKING:
    from unspan.artifact.deletion import Deletion
    from unspan.cli.opening import Opened
    from unspan.data.request import Request
    from unspan.methods import Method
    from unspan.run import Run


def run_erase(o: dict[str, Any]) -> None:
    """Refuse what can be refused before any work, then erase.

    Args:
        o: values of the options by name.
    """
    from unspan.system.output_paths import check_place

    out = o["out"]
    check_place(out)
    from unspan import dist
    from unspan.artifact import check_target
    from unspan.cli.interrupts import interruptible
    from unspan.cli.render import console
    from unspan.cli.request import input_paths

    max_drop_of(o["max_drop"])
    if o["target"] is not None:
        as_target(o["target"])
    if o["against"] is not None:
        as_against(o["against"])
    o["data"] = o["data"] or o["forget_data"]
    if o["data"] is None:
        raise UsageError("Give the data with --data, or the samples to forget with --forget-data.")
    o["method"] = implied_method(o)
    method = method_of(o) if o["method"] else None
    check_target(out, overwrite=o["overwrite"], inputs=input_paths(o))
    was_there = _written_at(out)
    with interruptible(lambda: _kept(out, was_there)), dist.session(300.0), _lock(o):
        check_target(out, overwrite=o["overwrite"])  # written until the lock was free
        _erase(o, method, console(o["quiet"] or dist.rank() != 0))


def _lock(o: dict[str, Any]) -> AbstractContextManager[None]:
    """The lock of the output, from the start: nobody trains for an output that another writes."""
    from unspan import dist
    from unspan.system.locks import writing

    return nullcontext() if o["dry_run"] or dist.rank() != 0 else writing(o["out"])


TUNE = Step("trying settings")


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

    from unspan import cluster, dist
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
            engine=o["engine"],
            workers=o["workers"],
            seed=o["seed"],
            max_samples=o["max_samples"],
            progress=report,
        )
        run.plan(_steps(o, prepared))
        with cluster.session(run):
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


def _steps(o: dict[str, Any], prepared: _Prepared) -> list[Step]:
    """What the command does, in order: settings are tried, a copy is changed and measured."""
    from unspan.erasure.steps import planned

    erasing = planned(prepared.method, measure=True)
    return [*([TUNE] if o["tune"] else []), *erasing, *map(step_of, prepared.wanted)]


def _prepared(o: dict[str, Any], method: Method | None, out: Any) -> _Prepared:
    from unspan import dist
    from unspan.artifact import check_identifying, check_savable
    from unspan.cli import render
    from unspan.cli.opening import open_model
    from unspan.cli.request import (
        held_out_for,
        open_request,
        refuse_test_overlap,
        with_holdout,
    )
    from unspan.data.loading import size_of
    from unspan.erasure.checks import check_parts
    from unspan.erasure.choosing import default_settings, situation_of
    from unspan.erasure.reading import feature_size
    from unspan.erasure.remembering import remembered
    from unspan.methods import EraserMethod
    from unspan.run import Run

    refuse_unused_preprocessing(o)
    opened = open_model(o)
    check_savable(opened.model)
    request, sources = open_request(o, opened)
    count = size_of(request.forget, Run(max_samples=o["max_samples"]))
    wanted = splits_to_measure(o, sources)
    request, sources = with_holdout(o["holdout"], o["split"], request, sources)
    situation = situation_of(
        opened.model,
        request,
        Run(batch_size=2),
        form=o["form"],
        earlier=getattr(opened.start, "receipt", None),
        feature_layer=o["feature_layer"],
        pool=o["pool"],
        statistics=names_statistics(o),
    )
    against = None if o["against"] is None else as_against(o["against"])
    reason = ""
    if method is None:
        kind = situation.recommended(against)
        o["method"] = kind.name
        method = method_of(o, default_settings(kind, request))
        reason = why(situation, against)
        o["against"] = against or situation.held_by(kind)
    elif against is not None:
        situation.check(type(method), against)
    request = held_out_for(method, request)
    dim = feature_size(
        opened.start,
        request,
        Run(batch_size=2, max_samples=o["max_samples"]),
        feature_layer=o["feature_layer"],
        pool=o["pool"],
    )
    method.check(dim)
    check_parts(request, method.needs, method.name)
    reading = Run(device=o["device"], batch_size=o["batch_size"])
    memory = remembered(opened.model, request, reading)
    render.facts(out, "Plan", plan(o, request, method, count, situation, reason, memory))
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
        run.begin(TUNE)
        method, trials = tuned(o, opened.model, prepared.request, run)
    deletion = erase_api(
        opened.start,
        prepared.request,
        method,
        run,
        feature_layer=o["feature_layer"],
        pool=o["pool"],
        form=o["form"],
        target=o["target"],
        against=o["against"],
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
    from unspan.erasure.cautions import over_limit
    from unspan.erasure.evaluation import findings

    opened, request, sources = prepared.opened, prepared.request, prepared.sources
    rows = measure(prepared.wanted, o, opened.model, deletion, request, sources, run)
    names = names_of(sources, opened) if request.kind == "class" else None
    limit = deletion.receipt.get("collateral", {}).get("limit")
    deletion.receipt["evaluation"] += rows
    deletion.receipt["warnings"] += over_limit(rows, limit)
    deletion.receipt["warnings"] += findings(rows, outputs_of(opened.model, deletion), names)


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
