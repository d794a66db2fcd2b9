"""What whoever holds the weights can do: take the eraser off, or read an earlier layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.utils.data import Subset

from unspan.audit_record.results import AttackResult
from unspan.audit_record.vocabulary import Verdict
from unspan.auditing.case import Case, Models
from unspan.auditing.collect import collect
from unspan.auditing.steps import LAYERS_JUDGED, LAYERS_KNOWN, Work, step
from unspan.auditing.subjects import Subject
from unspan.auditing.sweep import by_layer, changed, layer_reader, layers, without_eraser
from unspan.auditing.verdict_rule import overall
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.system.steps import Step

_FIT, _TEST = 5000, 2000  # samples of the sweep, which passes them through every model once more
_KNOWN = "earlier layers, what the attacker knows"
_JUDGED = "earlier layers, what he is judged on"


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
    models = case.models
    before, after, references = models.before, models.after, models.others
    same = [name for name, _ in before.model.named_parameters()] == [
        name for name, _ in after.model.named_parameters() if not name.endswith("unspan")
    ]
    different = changed(before.model, after.model, before.feature_layer.head) if same else None
    recovered = without_eraser(after, before, models.inputs)
    names = layers(before, models.inputs)
    if not names or any(_missing(one, names) for one in (after, *references)):
        return WhiteBox(different, recovered)
    readings = _readings_by_layer(case, models, names)
    decision = overall(
        [readings[name]["before"] for name in names],
        [readings[name]["after"] for name in names],
        [[readings[name][one.name] for one in references] for name in names],
        retrained=case.is_compared,
        chance=0.0,  # no layer before the head names a class by itself
    )
    verdicts = sorted(decision.attacks, key=lambda one: names.index(str(one.identity.layer)))
    return WhiteBox(different, recovered, decision.verdict, verdicts)


def _readings_by_layer(
    case: Case, models: Models, names: Sequence[str]
) -> dict[str, dict[str, Reading]]:
    """What a linear probe reads at each layer, of each model."""
    everyone = [models.before, models.after, *models.others]
    parts, reader = models.parts, layer_reader(names)

    def read(stage: Step, forget: Any, retain: Any) -> dict[str, Outputs]:
        assert case.cache is not None
        case.run.begin(stage)
        return collect(everyone, forget, retain, case.run, case.cache, str(stage), reader)[0]

    fit = read(
        LAYERS_KNOWN,
        _some(parts.fit_forget, _FIT // 10),
        _some(parts.fit_retain, _FIT - _FIT // 10),
    )
    test = read(
        LAYERS_JUDGED,
        _some(parts.test_forget, _TEST // 2),
        _some(parts.test_retain, _TEST // 2),
    )
    readings: dict[str, dict[str, Reading]] = {name: {} for name in names}
    for one in everyone:
        case.run.begin(step(Work.LAYERS, one.name))
        known, tested = (
            by_layer(found[one.name], one, names, models.inputs) for found in (fit, test)
        )
        for name in names:
            readings[name][one.name] = replace(
                linear_probe(known[name], tested[name], case.run.seed),
                attack=f"linear probe at {name}",
                identity=AttackId(AttackKind.LINEAR_AT_LAYER, layer=name),
            )
    return readings


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
