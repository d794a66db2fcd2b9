"""What whoever holds the weights can do: take the eraser off, or read an earlier layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.data import Subset

from unspan.audit_record.record import AttackResult
from unspan.audit_record.vocabulary import Verdict
from unspan.auditing.case import Case
from unspan.auditing.collect import Subject
from unspan.auditing.steps import Work, step
from unspan.auditing.sweep import changed, layer_outputs, layers, without_eraser
from unspan.auditing.verdict_rule import overall
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.linear import linear_probe
from unspan.metrics.score import Reading

_FIT, _TEST = 5000, 2000  # samples of the sweep, which passes them through every model once more


@dataclass(frozen=True)
class WhiteBox:
    """What the weights give away.

    Attributes:
        changed: parameters before the head that differ from the original's; None when the models
            have other layers.
        recovered: share of samples whose original features come back when the eraser is taken off.
        word: verdict over the earlier layers, None when they were not tested.
        verdicts: of each layer.
    """

    changed: list[str] | None
    recovered: float | None
    word: Verdict | None = None
    verdicts: list[AttackResult] = field(default_factory=list)


def white_box(case: Case) -> WhiteBox:
    """Compare weights, take the eraser off, and probe up to three earlier layers of all models."""
    if case.models is None:
        return WhiteBox(None, None)
    models, run = case.models, case.run
    before, after, references, parts = models.before, models.after, models.others, models.parts
    same = [name for name, _ in before.model.named_parameters()] == [
        name for name, _ in after.model.named_parameters() if not name.endswith("unspan")
    ]
    different = changed(before.model, after.model, before.feature_layer.head) if same else None
    recovered = without_eraser(after, before, models.inputs)
    names = layers(before, models.inputs)
    if not names or any(_missing(one, names) for one in (after, *references)):
        return WhiteBox(different, recovered)
    readings: dict[str, dict[str, Reading]] = {name: {} for name in names}
    for one in (before, after, *references):
        run.begin(step(Work.LAYERS, one.name))
        fit = layer_outputs(
            one,
            names,
            _some(parts.fit_forget, _FIT // 10),
            _some(parts.fit_retain, _FIT - _FIT // 10),
            run,
        )
        test = layer_outputs(
            one,
            names,
            _some(parts.test_forget, _TEST // 2),
            _some(parts.test_retain, _TEST // 2),
            run,
        )
        for name in names:
            readings[name][one.name] = replace(
                linear_probe(fit[name], test[name], run.seed),
                attack=f"linear probe at {name}",
                identity=AttackId(AttackKind.LINEAR_AT_LAYER, layer=name),
            )
    decision = overall(
        [readings[name]["before"] for name in names],
        [readings[name]["after"] for name in names],
        [[readings[name][one.name] for one in references] for name in names],
        retrained=case.is_compared,
        chance=0.0,  # no layer before the head names a class by itself
    )
    verdicts = sorted(decision.attacks, key=lambda one: names.index(str(one.identity.layer)))
    return WhiteBox(different, recovered, decision.verdict, verdicts)


def _missing(one: Subject, names: Sequence[str]) -> bool:
    known = dict(one.model.named_modules())
    return any(name not in known for name in names)


def _some(data: Any, most: int) -> Any:
    if len(data) <= most:
        return data
    return Subset(
        data,
        torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:most]
        .sort()
        .values.tolist(),
    )
