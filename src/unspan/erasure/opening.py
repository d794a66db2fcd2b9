"""First step of `erase`: the copy of the model, the request, the method, and what was erased
before.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import nn

from unspan import dist
from unspan.artifact import receipt as receipts
from unspan.artifact import reopen
from unspan.artifact.deletion import Deletion, check_receipt
from unspan.artifact.record import Form, Record, record_of
from unspan.data.overlap import refuse_shared
from unspan.data.request import Request, as_request
from unspan.erasers import Eraser, Projection
from unspan.erasure import guard
from unspan.erasure.choosing import default_settings, situation_of, uses_statistics
from unspan.erasure.collateral import Kept, set_apart
from unspan.erasure.install import AffineLayer, restore_head, restore_rows
from unspan.errors import UsageError
from unspan.extraction import ERASED, Pool, detach, unwrap
from unspan.methods import ESC, Method, TrainedMethod, configured
from unspan.methods.settings import check_kinds
from unspan.models import recipe_of
from unspan.models.copying import copied, refuse_adapters
from unspan.models.frozen_norms import frozen_norms
from unspan.models.sentences import with_tokens
from unspan.run import Run
from unspan.system.against import Against
from unspan.system.target import Target


@dataclass(frozen=True, kw_only=True)
class Options:
    """How a request is carried out; the attributes are arguments of `erase`."""

    feature_layer: str | None = None
    pool: Pool | None = None
    form: Form = "projected"
    target: Target | None = None
    against: Against | None = None
    key: bytes | None = None
    recipe: dict[str, Any] | None = None
    check_labels: bool = True
    resume: Path | None = None
    max_drop: guard.MaxDrop = "default"
    measure: bool = True


@dataclass(frozen=True, kw_only=True)
class Opened:
    """What a request works on. The copy of the model is the only thing that later steps change.

    Attributes:
        original: the model as it was given, wrappers and all; unchanged.
        copy: its copy, wrapped alike; what the user gets back.
        request: as far as the method may read it.
        full_request: with the samples that were set apart.
        held: samples to keep that were set apart to measure damage; None where there are none.
        method: with its settings.
        against: whom it is to hold against; None where a method was named and nobody.
        run: device, batch size, seed, progress.
        options: the other arguments of `erase`.
        key: secret of the request.
        recipe: how to build the architecture; empty where that is not known.
        limit: points of accuracy that the samples to keep may lose; None for any.
        frozen_norms: normalisation layers that keep their running statistics.
        earlier_deletion: that the model came in; None for a model.
        earlier_record: how the model was erased before; None where it was not.
        earlier_eraser: map of all earlier requests; None where there is none.
    """

    original: nn.Module
    copy: nn.Module
    request: Request
    full_request: Request
    held: Kept | None
    method: Method
    against: Against | None
    run: Run
    options: Options
    key: bytes
    recipe: dict[str, Any]
    limit: float | None
    frozen_norms: frozenset[str]
    earlier_deletion: Deletion | None
    earlier_record: Record | None
    earlier_eraser: Eraser | None

    @property
    def original_module(self) -> nn.Module:
        """The network inside `original`, without wrappers such as `torch.compile`."""
        return unwrap(self.original)

    @property
    def copy_module(self) -> nn.Module:
        """The network inside `copy`, without wrappers: what the steps read and change."""
        return unwrap(self.copy)

    @property
    def trains(self) -> bool:
        """Whether the method changes weights."""
        return isinstance(self.method, TrainedMethod)

    @property
    def target(self) -> Target:
        """What the erasure aims at: as asked, or as the method does."""
        return self.options.target or self.method.target

    @property
    def earlier_receipts(self) -> list[dict[str, Any]]:
        """Receipts of earlier requests on this model, the oldest first, each with the manifest of
        its folder; None where it was never saved.
        """
        if self.earlier_record is None:
            return []
        saved = None if self.earlier_deletion is None else self.earlier_deletion.manifest
        last = self.earlier_record.receipt | {"manifest": saved}
        return [*self.earlier_record.receipt["previous"], last]

    @property
    def earlier_classes(self) -> set[int]:
        """Labels that earlier requests erased and this one does not."""
        gone = {label for one in self.earlier_receipts for label in one["request"]["classes"]}
        return gone - set(self.request.classes)


def open_request(
    model: nn.Module | Deletion | str | Path,
    data: Any,
    method: Method | None,
    run: Run,
    options: Options,
) -> Opened:
    """Copy the model, set samples apart, and bring an erased model back to its original features.

    Raises:
        UsageError: an argument is of the wrong kind, or the model cannot take another request.
        InconclusiveError: the deletion before must not be used.
    """
    earlier = _deletion(model)
    if earlier is not None:
        earlier.check()
    original = model if earlier is None else earlier.model
    if isinstance(original, nn.Module):
        dist.refuse_sharded(original)
    full_request = with_tokens(original, as_request(data))
    method, against = _chosen(original, full_request, method, earlier, run, options)
    key = _key(options.key, earlier)
    _check_kinds(original, method)
    assert isinstance(original, nn.Module)
    carried = record_of(original)
    if carried is not None:
        check_receipt(carried.receipt)
    trains = isinstance(method, TrainedMethod)
    recipe = _recipe(original, options.recipe, earlier)
    if not trains:
        refuse_adapters(unwrap(original))
    copy = copied(original, run.device)
    inner = unwrap(copy)
    for part, name in ((full_request.forget, "forget"), (full_request.retain, "retain")):
        refuse_shared(part, full_request.holdout, f"{name} set and the held-out samples")
    limit = guard.limit_of(options.max_drop, full_request.kind)
    request, held = full_request, None
    if options.measure:
        request, held = set_apart(full_request, run, trains and "retain" in method.needs)
    norms = frozen_norms(inner)
    record, eraser = _without_eraser(inner, earlier)
    return Opened(
        original=original,
        copy=copy,
        request=request,
        full_request=full_request,
        held=held,
        method=method,
        against=against,
        run=run,
        options=options,
        key=key,
        recipe=recipe,
        limit=limit,
        frozen_norms=norms,
        earlier_deletion=earlier,
        earlier_record=record,
        earlier_eraser=eraser,
    )


def _deletion(model: object) -> Deletion | None:
    if isinstance(model, (str, Path)):
        return reopen(Path(model))
    return model if isinstance(model, Deletion) else None


def _chosen(
    original: object,
    request: Request,
    named: Method | None,
    earlier: Deletion | None,
    run: Run,
    options: Options,
) -> tuple[Method, Against | None]:
    """The method, and whom it is to hold against: the recommended one where none was named.

    Raises:
        UsageError: the named method, or every method, is not known to hold against them.
    """
    asked = options.against
    if named is not None and (asked is None or not isinstance(named, Method)):
        return named, None  # what is no method is said by the check of kinds
    if not isinstance(original, nn.Module):  # said by the check of kinds
        return named or ESC(), asked
    situation = situation_of(
        original,
        request,
        run,
        form=options.form,
        earlier=None if earlier is None else earlier.receipt,
        feature_layer=options.feature_layer,
        pool=options.pool,
        statistics=uses_statistics(named),
    )
    if named is not None:
        assert asked is not None
        situation.check(type(named), asked)
        return named, asked
    kind = situation.recommended(asked)
    return configured(kind, default_settings(kind, request)), asked or situation.held_by(kind)


def _key(given: bytes | None, earlier: Deletion | None) -> bytes:
    if given is not None:
        receipts.check_key(given)
    return given or (None if earlier is None else earlier.key) or receipts.new_key()


def _check_kinds(original: object, method: object) -> None:
    if not isinstance(method, Method):
        raise UsageError(
            f"method={method!r} is not a method; pass one with its settings, for example"
            " unspan.ESC(rank=1)."
        )
    check_kinds(method)
    if not isinstance(original, nn.Module):
        raise UsageError(
            f"model is a {type(original).__name__}; give a torch.nn.Module, a Deletion or the"
            " folder of one."
        )


def _recipe(
    original: nn.Module, given: dict[str, Any] | None, earlier: Deletion | None
) -> dict[str, Any]:
    """How to build the architecture: as known before, as given, or as the model itself says."""
    recipe = (None if earlier is None else earlier.recipe) or given
    record = record_of(original)
    if not recipe and record is not None:
        recipe = record.receipt["model"]["recipe"]
    return recipe or recipe_of(unwrap(original)) or {}


def _without_eraser(
    inner: nn.Module, earlier: Deletion | None
) -> tuple[Record | None, Eraser | None]:
    """Bring an erased model back to its original features, so that spans are united, not
    chained.
    """
    record = record_of(inner)
    if record is None:
        if ERASED in dict(inner.named_children()):
            raise UsageError(
                "This SentenceTransformer was erased before and then saved without its receipt."
                " Pass the Deletion or its folder, or erase both requests from the original."
            )
        return None, None
    if record.form == "trained" and record.placement == "hook":
        name = record.receipt["method"]["name"]
        raise UsageError(
            f"This model has the head of method {name}, which takes no further request. Give both"
            " requests together and start from the original."
        )
    if record.placement == "hook":
        detach(inner, record.feature_layer)
        return record, record.eraser
    if record.placement == "trained":
        return record, None
    if earlier is None or earlier.undo is None or earlier.eraser is None:
        raise UsageError(
            "This model was erased before, and what its weights lost is not stored in it (it would"
            " describe what was erased). Pass the Deletion itself or its folder with the .private"
            " folder beside it, or erase both requests from the original."
        )
    layer = record.feature_layer
    if record.placement == "head":
        assert layer.head is not None
        restore_head(cast(AffineLayer, inner.get_submodule(layer.head)), earlier.undo)
    elif isinstance(earlier.eraser, Projection):
        site = cast(AffineLayer, inner.get_submodule(layer.site))
        restore_rows(site, earlier.eraser.basis, earlier.undo)
    return record, earlier.eraser
