"""erase(): a model and a request in, a drop-in model and its receipt out."""

from __future__ import annotations

import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from unspan import dist
from unspan.artifact import receipt as receipts
from unspan.artifact import reopen
from unspan.artifact.deletion import RECORD, Deletion, Form, Record
from unspan.data.inputs import place
from unspan.data.loading import batches, peek, size_of
from unspan.data.request import Splits, as_splits
from unspan.erasers import Affine, Eraser, Projection, compose
from unspan.erasure import guard
from unspan.erasure.account import Done, account
from unspan.erasure.checks import (
    check_classes,
    check_recognised,
    data_notices,
    described,
    split_notices,
    unsteady,
)
from unspan.erasure.collateral import set_apart
from unspan.erasure.install import AffineLayer, check_fold, install, restore_rows, verify
from unspan.erasure.predictions import Pair
from unspan.erasure.trained import check_parts, train_request, without_earlier
from unspan.errors import UsageError
from unspan.extraction import (
    FeatureLayer,
    Pool,
    detach,
    eval_mode,
    find_feature_layer,
    head_parameters,
    input_like,
    read,
    remembered_feature_layer,
    unwrap,
)
from unspan.extraction.access_paths import compare, outcomes
from unspan.extraction.stream import FeatureStream, example, seen_by_all
from unspan.methods import ESC, EraserMethod, Method, recommended
from unspan.models import recipe_of
from unspan.models.copying import copied, refuse_adapters
from unspan.models.frozen_norms import frozen_norms
from unspan.run import Run


def erase(
    model: nn.Module | Deletion | str | Path,
    data: Any,
    method: Method | None = None,
    run: Run | None = None,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
    form: Form = "projected",
    key: bytes | None = None,
    recipe: dict[str, Any] | None = None,
    check_labels: bool = True,
    resume: Path | None = None,
    max_drop: guard.MaxDrop = "default",
    measure: bool = True,
) -> Deletion:
    """Erase a request from a copy of a model, in one pass over the forget data.

    Args:
        model: a classifier or embedding model, a `Deletion`, or the folder of one (a further
            request).
        data: a `Splits`, or forget samples as Dataset, tensor or list of samples, or as DataLoader
            of batches.
        method: by default `Resample()` where a class is to be forgotten and there are data to keep,
            else `ESC()`; see `methods.recommended`.
        run: device, batch size, seed, progress.
        feature_layer: head name, `NAME:out`, `output` or `output:KEY`, when the search should be
            overridden.
        pool: `cls`, `mean` or `gap` when features are tokens or maps.
        form: `projected` cleans features and scores; `folded` changes the head's weights only.
        key: secret for the request commitment; random by default.
        recipe: stored so that `unspan.load` can build the architecture.
        check_labels: stop when the model does not recognise the labelled class to begin with.
        resume: folder where a method that trains keeps its epochs, so that a run that was killed
            goes on; `save` removes it.
        max_drop: points of accuracy that the samples to keep may lose, in [0, 100]; None accepts
            any loss. By default 3 on average for a request of classes, and 2 in any class for
            requests by ids, index or data. The loss counts with its lower 95 % bound.
        measure: False measures, holds out and refuses nothing, for experiments that measure
            themselves.

    Returns:
        A `Deletion`; the input model is unchanged. Where the samples to keep lose more than
        `max_drop`, or a class that was to be forgotten is named as before, its status is
        `inconclusive`: a warning says why and what to change, and it cannot be saved.

    Raises:
        InconclusiveError: a method found no usable result.
        UnspanError: with an exit code and a line that says how to fix it.
    """
    started = time.perf_counter()
    run, splits, previous = run or Run(), as_splits(data), _as_deletion(model)
    if previous is not None:
        previous.check()
    method = (
        method
        if method is not None
        else recommended(splits, form, previous.receipt if previous is not None else None)()
    )
    if key is not None:
        receipts.check_key(key)
    key = key or (previous.key if previous is not None else None) or receipts.new_key()
    source = previous.model if previous is not None else model
    trains = hasattr(method, "unlearn")
    if not trains and not hasattr(method, "fit"):
        raise UsageError(
            f"method={method!r} is not a method; pass one with its settings, for example"
            " unspan.ESC(rank=1)."
        )
    if not isinstance(source, nn.Module):
        raise UsageError(
            f"model is a {type(source).__name__}; give a torch.nn.Module, a Deletion or the folder"
            " of one."
        )
    recipe = (previous.recipe if previous is not None else None) or recipe
    earlier_record: Record | None = getattr(unwrap(source), RECORD, None)
    if not recipe and earlier_record is not None:
        recipe = earlier_record.receipt["model"]["recipe"]
    recipe = recipe or recipe_of(unwrap(source)) or {}
    if not trains:
        refuse_adapters(unwrap(source))
    work = copied(source, run.device)
    inner = unwrap(work)
    limit = guard.limit_of(max_drop, splits.kind)
    whole, held = splits, None
    if measure:
        splits, held = set_apart(splits, run, trains and "retain" in method.needs)
    frozen = frozen_norms(inner)
    with eval_mode(work), dist.session(run.timeout):
        record, prior = _reopen(inner, previous)
        if trains:
            if record is not None and record.placement != "trained":
                raise UsageError(
                    f"This model carries an eraser of an earlier request, which {method.name} would"
                    f" train away. Give both requests together to {method.name} and start from the"
                    " original, or use esc."
                )
            earlier = [] if record is None else [*record.receipt["previous"], record.receipt]
            done = train_request(
                inner,
                splits,
                method,
                run,
                earlier,
                feature_layer=feature_layer,
                pool=pool,
                check_labels=check_labels,
                resume=resume,
                frozen=frozen,
            )
        else:
            done = _erase(
                inner,
                splits,
                cast(EraserMethod, method),
                run,
                record,
                prior,
                key,
                feature_layer=feature_layer,
                pool=pool,
                form=form,
                check_labels=check_labels,
                frozen=frozen,
            )
        processes = dist.world()
    if done.already and record is not None:
        return Deletion(
            source,
            record.receipt | {"status": "already erased"},
            prior or done.eraser,
            key,
            previous.undo if previous else None,
            recipe,
        )
    receipt = account(
        unwrap(source),
        inner,
        splits,
        method,
        run,
        done,
        key,
        processes=processes,
        previous=[*record.receipt["previous"], record.receipt] if record is not None else [],
        seconds=time.perf_counter() - started,
    )
    receipt["model"]["recipe"] = recipe
    receipt["evaluation"] = []
    refused = None
    if measure:
        pair = Pair(
            unwrap(source),
            inner,
            done.feature_layer if record is None else record.feature_layer,
            done.feature_layer,
        )
        if record is None and form == "projected" and not trains:
            pair = replace(pair, eraser=done.eraser)
        begun = time.perf_counter()
        gone = {label for one in receipt["previous"] for label in one["request"]["classes"]}
        found = guard.measured(
            pair, whole, held, run, limit, whole.class_names, gone - set(whole.classes)
        )
        refused = guard.refusal(found, method, resume if trains else None)
        receipt |= {"evaluation": found.rows, "collateral": found.record | {"refused": refused}}
        receipt["warnings"] += found.warnings
        receipt["seconds"]["check"] = round(time.perf_counter() - begun, 3)
    if not recipe:
        receipt["notices"].append(
            f"the folder will not say how to build {type(unwrap(source)).__name__}: load it with"
            f" unspan.load(folder, model={type(unwrap(source)).__name__}(...))"
        )
    receipt["status"] = "erased"
    if refused is not None:
        receipt["status"] = "inconclusive"
        receipt["warnings"].insert(0, refused)
    kept = done.eraser if done.placement == "hook" else None
    setattr(inner, RECORD, Record(done.feature_layer, done.form, done.placement, receipt, kept))
    for line in receipt["warnings"]:
        warnings.warn(line, UserWarning, stacklevel=2)
    return Deletion(
        work,
        receipt,
        done.eraser,
        key,
        done.undo,
        recipe,
        resume if trains else None,
        done.example,
    )


def _erase(
    inner: nn.Module,
    splits: Splits,
    method: EraserMethod,
    run: Run,
    record: Record | None,
    prior: Eraser | None,
    key: bytes,
    *,
    feature_layer: str | None,
    pool: Pool | None,
    form: Form,
    check_labels: bool,
    frozen: frozenset[str],
) -> Done:
    if form not in ("projected", "folded"):
        raise UsageError(f"form='{form}' is not 'projected' or 'folded'.")
    if record is not None and record.placement != "trained" and record.form != form:
        raise UsageError(
            f"The model was erased in the {record.form} form; use form='{record.form}' for further"
            " requests."
        )
    from unspan.models import check_usable

    check_usable(inner)
    if "retain" in method.needs and splits.retain is None:
        check_parts(splits, method.needs, method.name)
    earlier = [] if record is None else [*record.receipt["previous"], record.receipt]
    whole = bool(getattr(method, "whole", False))
    again = set(splits.classes) & {label for one in earlier for label in one["request"]["classes"]}
    if whole and again:
        raise UsageError(
            f"Class {', '.join(map(str, sorted(again)))} was erased by an earlier request on this"
            " model already."
        )
    if whole and earlier and "retain" in method.needs:
        splits = without_earlier(splits, earlier)
    notices = described(lambda: data_notices(splits.forget), "reading the data twice")
    notices += described(lambda: split_notices(splits), "overlap of the parts of the data")
    adaptive = bool(getattr(method, "adaptive", False))
    first, stream_batches = peek(batches(splits.forget, run, shuffle=adaptive, shard=False))
    if dist.world() > 1:  # every process looks at the same first samples, then reads its own part
        stream_batches = batches(splits.forget, run)
    inputs = example(first, inner)
    if record is not None and feature_layer is None and not (whole and isinstance(prior, Affine)):
        found = record.feature_layer
    else:
        known = record.feature_layer if record is not None and feature_layer is None else None
        found, more = find_feature_layer(
            inner,
            inputs,
            _spelled(known) if known else feature_layer,
            known.pool if known else pool,
            whole=whole,
            classes=splits.num_classes,
        )
        notices += more
    method.check(found.dim)
    if check_labels:
        check_classes(splits, head_parameters(inner, found), inner)
    check_fold(inner, found, form)
    drift = described(lambda: unsteady(inner, found, first, method), "steadiness")
    notices += drift
    both_project = (
        isinstance(prior, Projection)
        and isinstance(method, ESC)
        and method.fidelity != "released-code"
    )
    seen_through = None if both_project else prior  # spans of projections are united instead
    stream = FeatureStream(
        inner,
        found,
        stream_batches,
        run,
        total=size_of(splits.forget, run),
        head=head_parameters(inner, found),
        prior=seen_through,
        train_mode=getattr(method, "fidelity", "") == "released-code",
        frozen=frozen,
    )
    stream.key, stream.classes = key, splits.classes
    stream.earlier = tuple(
        {label for one in earlier for label in one["request"]["classes"]} - set(splits.classes)
    )
    if "retain" in method.needs:
        most = getattr(method, "max_retain_samples", run.max_samples)
        kept = batches(
            splits.retain, replace(run, max_samples=most), shuffle=whole, shard=not whole
        )
        stream.retain = FeatureStream(
            inner,
            found,
            kept,
            run,
            total=size_of(splits.retain, replace(run, max_samples=most)),
            head=None,
            prior=seen_through,
        )
        stream.retain.says = "reading data to keep"
    dist.agree("the settings", (repr(method), splits.kind, splits.selector, splits.classes))
    begun = time.perf_counter()
    fit = method.fit(stream)
    seconds = time.perf_counter() - begun
    seen = seen_by_all(stream)
    if check_labels and record is None:
        check_recognised(seen, stream.head, splits)
    total = compose(prior, fit.eraser)
    if (
        isinstance(prior, Projection)
        and isinstance(total, Projection)
        and total.basis.shape[1] == prior.basis.shape[1]
    ):
        return Done(found, prior, fit, "hook", form, seen, {}, [], seconds, None, already=True)
    if isinstance(total, Projection) and total.basis.shape[1] >= found.dim:
        raise UsageError(
            f"The requests together would remove all {found.dim} directions;"
            f" {prior.basis.shape[1] if isinstance(prior, Projection) else 0} are gone already. Use"
            " a lower rank, or retrain."
        )
    before = outcomes(inner, found, inputs)
    clean, _ = read(inner, found, inputs)
    placement, undo = install(inner, found, total, form)
    if not drift:
        verify(inner, found, total, form, clean, inputs)
    after = outcomes(inner, found, inputs)
    return Done(
        found,
        total,
        fit,
        placement,
        form,
        seen,
        compare(before, after, total, found.dim),
        notices + list(fit.warnings),
        seconds,
        inputs,
        undo,
    )


def pair_of(original: nn.Module, erased: nn.Module) -> Pair:
    """A model and what `erase` made of it, each with the place of its features."""
    first: Record | None = getattr(unwrap(original), RECORD, None)
    second: Record | None = getattr(unwrap(erased), RECORD, None)
    if second is None:
        return Pair(original, erased)
    before = second.feature_layer if first is None else first.feature_layer
    eraser = second.eraser if first is None and second.form == "projected" else None
    return Pair(unwrap(original), unwrap(erased), before, second.feature_layer, eraser)


def _spelled(feature_layer: FeatureLayer) -> str:
    """The `feature_layer=` that finds this place again."""
    if feature_layer.head is not None:
        return feature_layer.head
    return (
        f"output:{feature_layer.key}"
        if feature_layer.key
        else f"{feature_layer.reads}:out"
        if feature_layer.reads
        else "output"
    )


def feature_size(
    model: nn.Module | Deletion,
    data: Any,
    run: Run,
    *,
    feature_layer: str | None = None,
    pool: Pool | None = None,
) -> int:
    """D of the features that `erase` would work on, from the first samples of the request."""
    source = model.model if isinstance(model, Deletion) else model
    inner, splits = unwrap(source), as_splits(data)
    record: Record | None = getattr(inner, RECORD, None)
    if record is not None and feature_layer is None:
        return record.feature_layer.dim
    first, _ = peek(batches(splits.forget, run, shard=False))
    with eval_mode(source):
        return find_feature_layer(inner, example(first, inner), feature_layer, pool)[0].dim


def _as_deletion(model: Any) -> Deletion | None:
    if isinstance(model, (str, Path)):
        return reopen(Path(model))
    return model if isinstance(model, Deletion) else None


def _reopen(inner: nn.Module, previous: Deletion | None) -> tuple[Record | None, Eraser | None]:
    """Bring an erased model back to its original features, so that spans are united, not
    chained.
    """
    record: Record | None = getattr(inner, RECORD, None)
    if record is None:
        return None, None
    if record.placement == "hook":
        detach(inner, record.feature_layer)
        return record, record.eraser
    if record.placement == "trained":
        return record, None
    if previous is None or (record.placement == "weights" and previous.undo is None):
        raise UsageError(
            "This model was erased before, and the directions are not stored in it (they would"
            " describe what was erased). Pass the Deletion itself or its folder with the .private"
            " folder beside it, or erase both requests from the original."
        )
    if (
        record.placement == "weights"
        and isinstance(previous.eraser, Projection)
        and previous.undo is not None
    ):
        site = cast(AffineLayer, inner.get_submodule(record.feature_layer.site))
        restore_rows(site, previous.eraser.basis, previous.undo)
    return record, previous.eraser


def features(
    model: nn.Module, inputs: Any, *, feature_layer: str | None = None, pool: Pool | None = None
) -> Tensor:
    """What a feature API of the model exposes for a batch: `[n, d]`, after the eraser if there is
    one.

    Args:
        model: erased or not; unchanged, evaluation mode is used and undone.
        inputs: tensor, tuple or dict as the model takes it.
        feature_layer: as in `erase`; an erased model remembers its own.
        pool: as in `erase`.
    """
    inner = unwrap(model)
    record: Record | None = getattr(inner, RECORD, None)
    with eval_mode(model):
        inputs = place(inputs, input_like(inner, inputs))
        found = (
            record.feature_layer
            if record is not None and feature_layer is None
            else remembered_feature_layer(inner, inputs, feature_layer, pool)
        )
        return read(inner, found, inputs)[0]
