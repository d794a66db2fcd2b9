"""`unspan audit`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import typer

from unspan.audit_record.vocabulary import Verdict
from unspan.cli import audit_options as own
from unspan.cli import options as option
from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.auditing.audit import Audit

_EXIT = {Verdict.RETAINED: 6, Verdict.INCONCLUSIVE: 7, Verdict.NOT_MEASURABLE: 7}
_FAILS: dict[str, set[Verdict]] = {
    "never": set(),
    "retained": {Verdict.RETAINED},
    "inconclusive": set(_EXIT),
}


def audit(
    before: own.Before,
    after: own.After,
    out: own.Out,
    data: own.Data = None,
    outputs: own.Outputs = False,
    weights: option.Weights = None,
    reference: own.References = None,
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
    fail_on: own.FailOn = "never",
    device: option.Device = None,
    batch_size: option.BatchSize = 64,
    engine: option.EngineName = "local",
    workers: option.Workers = 0,
    seed: option.Seed = 0,
    cache: own.Cache = None,
    pictures: own.Pictures = True,
    include_images: own.IncludeImages = 0,
    by: own.By = "",
    valid_until: own.ValidUntil = None,
    allow_overlap: own.AllowOverlap = False,
    overwrite: own.Overwrite = False,
    quiet: option.Quiet = False,
    as_json: own.AsJson = False,
    debug: option.Debug = False,
) -> None:
    """Measure what an attacker can still get from an erased model, and write a report.

    Such as:

    unspan audit timm:resnet18 erased/ --data photos/ --out audit/

    unspan audit before.npz after.npz --outputs --forget 3 --out audit/
    """
    options = dict(locals())
    if fail_on not in _FAILS:
        raise UsageError(f"--fail-on {fail_on}: use {', '.join(_FAILS)}.")
    if data is None and not outputs:
        raise UsageError("Missing option --data. See unspan --help.")
    found = _audited(options)
    if as_json:
        print(found.to_json(), end="")
    if found.verdict in _FAILS[fail_on]:
        raise typer.Exit(_EXIT[found.verdict])
    if fail_on != "never" and not found.trusted:
        _keep_closed()


def _audited(o: dict[str, Any]) -> Audit:
    """The audit, written and shown."""
    from unspan.auditing.write import check_target
    from unspan.cli.audit_run import kept, run_audit, run_outputs
    from unspan.cli.interrupts import interruptible
    from unspan.cli.render import console
    from unspan.cli.request import input_paths
    from unspan.system.locks import writing
    from unspan.system.output_paths import refuse_inside

    inputs = input_paths(o | {"cache": None})
    check_target(o["out"], o["overwrite"], inputs)
    if o["cache"] is not None:
        refuse_inside(o["cache"], inputs)
    shown = console(o["quiet"])
    with interruptible(lambda: kept(o["cache"])), writing(o["out"]):
        check_target(o["out"], o["overwrite"], inputs)  # written until the lock was free
        return run_outputs(o, shown) if o["outputs"] else run_audit(o, shown)


def _keep_closed() -> NoReturn:
    """Exit where the audit cannot be relied on."""
    from unspan.cli.render import console

    console(False).print(
        "The audit cannot be relied on: a self-test failed, or the reference cannot serve as one."
        " The gate stays closed (exit 7)."
    )
    raise typer.Exit(7)
