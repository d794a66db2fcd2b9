"""erase(): a model and a request in, a drop-in model and its receipt out.

open -> locate features -> fit -> install and verify (or train) -> measure -> record. Every step is
a function from frozen results to a frozen result. Only the copy of the model changes: its modules
or weights, and the record of the erasure that it carries.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from unspan import cluster, dist
from unspan.artifact.deletion import Deletion
from unspan.artifact.record import Form, Record, keep_record
from unspan.erasure import guard, steps
from unspan.erasure.account import account
from unspan.erasure.change import Change
from unspan.erasure.checks import check_processes, check_recognised
from unspan.erasure.fitting import fit_eraser
from unspan.erasure.locating import locate_features
from unspan.erasure.measuring import measure_damage
from unspan.erasure.opening import Opened, Options, open_request
from unspan.erasure.placing import install_eraser
from unspan.erasure.trained import train_weights
from unspan.extraction import Pool, eval_mode
from unspan.methods import EraserMethod, Method, TrainedMethod
from unspan.run import Run
from unspan.system.against import as_against
from unspan.system.target import as_target


def erase(
    model: nn.Module | Deletion | str | Path,
    data: Any,
    method: Method | None = None,
    run: Run | None = None,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    form: Form = "projected",
    target: str | None = None,
    against: str | None = None,
    key: bytes | None = None,
    recipe: dict[str, Any] | None = None,
    check_labels: bool = True,
    resume: Path | None = None,
    max_drop: guard.MaxDrop = "default",
    measure: bool = True,
) -> Deletion:
    """Erase a request from a copy of a model.

    The fit reads the forget data once; measuring reads some of them again.

    Under torchrun every process makes the same call, reads its part of the data and gets the same
    result; save it in one of them.

    Args:
        model: a classifier or embedding model; for a further request a `Deletion` or its folder.
        data: a `Request`, or forget samples as Dataset, tensor, list, or DataLoader of batches.
        method: by default the cheapest for the request that holds `against` whom it is to hold
            against; see docs/which-method.md.
        run: device, batch size, seed, progress.
        feature_layer: head name, `NAME:out`, `output` or `output:KEY`, instead of the search.
        pool: `cls`, `mean` or `gap` when features are tokens or maps.
        form: `projected` cleans features and scores; `folded` changes the head's weights only.
        target: what the audit is to find: `suppress` (nobody reads more than in a model that never
            saw the samples) or `like-retrained` (no less either). By default what the method aims
            at; the receipt says it.
        against: whom the deletion is to hold against, which chooses the method: `outputs` (one
            answer to each unaltered input), `features` (those too), `queries` (any number of
            altered copies), `weights`. By default the cheapest method for the request. A method
            that is given must be known to hold against them.
        key: secret for the request commitment and for choices of a method that nobody may predict;
            by default that of the request before, else a random one.
        recipe: stored so that `unspan.load` can build the architecture.
        check_labels: stop when the model does not recognise the labelled class to begin with.
        resume: folder where a method that trains keeps its epochs, to go on after a kill; `save`
            removes it.
        max_drop: points of accuracy that the samples to keep may lose, in [0, 100]; None accepts
            any loss. By default 3 on average for a request of classes, and 2 in any class for
            requests by ids, index or data. Refused is what is shown: the near end of the 95 %
            interval of the loss. A measured loss above the limit that is not shown is a warning.
        measure: False measures, holds out and refuses nothing.

    Returns:
        A `Deletion`; the input model is unchanged. A result that was made and measured is returned
        even if it must not be used: where the samples to keep lose more than `max_drop`, or a class
        that was to be forgotten is named as before. Its status is then `inconclusive`, a warning
        says why and what to change, and it cannot be saved.

    Raises:
        InconclusiveError: no result was made: the method found none.
        UnspanError: likewise, for data, model or arguments; with an exit code and how to fix it.
    """
    started = time.perf_counter()
    options = Options(
        feature_layer=feature_layer,
        pool=pool,
        form=form,
        target=None if target is None else as_target(target),
        against=None if against is None else as_against(against),
        key=key,
        recipe=recipe,
        check_labels=check_labels,
        resume=resume,
        max_drop=max_drop,
        measure=measure,
    )
    return _carried_out(open_request(model, data, method, run or Run(), options), started)


def _carried_out(opened: Opened, started: float) -> Deletion:
    """The steps after opening; `started` is when the request came."""
    with cluster.session(opened.run):
        with eval_mode(opened.copy), dist.session(opened.run.timeout):
            check_processes(opened.method)
            opened = replace(opened, key=dist.gather(opened.key)[0])  # a new one is drawn by each
            change = change_copy(opened)
            processes = dist.world()
        if change is None:
            return _unchanged(opened)
        seconds = time.perf_counter() - started
        measured = measure_damage(opened, change)
    receipt = account(opened, change, measured, processes=processes, seconds=seconds)
    for line in receipt["warnings"]:
        warnings.warn(line, UserWarning, stacklevel=3)
    return _recorded(opened, change, receipt)


def change_copy(opened: Opened) -> Change | None:
    """Erase from the copy in place; None where earlier requests erased all of it already.

    The fit reads the forget samples, once. Whether the model recognises them is known only then.
    """
    method, run = opened.method, opened.run
    run.plan(steps.planned(method, measure=opened.options.measure))
    if isinstance(method, TrainedMethod):
        return train_weights(opened, method)
    assert isinstance(method, EraserMethod)
    run.begin(steps.LOCATE)
    located = locate_features(opened, method)
    run.begin(steps.FIT)
    fitted = fit_eraser(opened, located, method)
    if opened.options.check_labels and opened.earlier_record is None:
        check_recognised(fitted.seen, located.head, located.request)
    if fitted.eraser is None:
        return None
    run.begin(steps.INSTALL)
    return install_eraser(opened, located, fitted, fitted.eraser)


def _unchanged(opened: Opened) -> Deletion:
    """The deletion before, where the request adds nothing to it."""
    assert opened.earlier_record is not None
    return Deletion(
        model=opened.original,
        receipt=opened.earlier_record.receipt | {"status": "already erased"},
        eraser=opened.earlier_eraser,
        key=opened.key,
        undo=None if opened.earlier_deletion is None else opened.earlier_deletion.undo,
        recipe=opened.recipe,
    )


def _recorded(opened: Opened, change: Change, receipt: dict[str, Any]) -> Deletion:
    """The deletion, whose model carries how it was erased."""
    record = Record(
        feature_layer=change.feature_layer,
        form=change.form,
        placement=change.placement,
        receipt=receipt,
        eraser=change.eraser_as_module,
    )
    keep_record(record, opened.copy_module)
    return Deletion(
        model=opened.copy,
        receipt=receipt,
        eraser=change.eraser,
        key=opened.key,
        undo=change.undo,
        recipe=opened.recipe,
        epochs=opened.options.resume if opened.trains else None,
        example=change.example,
    )
