"""What whoever holds the weights can do: take the eraser off, or read an earlier layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from unspan.audit_record.results import AttackResult
from unspan.audit_record.vocabulary import Verdict
from unspan.auditing.case import Case, Models
from unspan.auditing.collect import collect
from unspan.auditing.steps import LAYERS_JUDGED, LAYERS_KNOWN, Work, step
from unspan.auditing.sweep import (
    by_layer,
    changed,
    layer_reader,
    shared_layers,
    swept,
    without_eraser,
)
from unspan.auditing.verdict_rule import overall
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.linear import linear_probe
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading
from unspan.system.steps import Step


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
    names = shared_layers([before, after, *references], models.inputs)
    if not names:
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
    known, judged = swept(models.parts)
    reader = layer_reader(names)

    def read(stage: Step, chosen: tuple[Any, Any]) -> dict[str, Outputs]:
        assert case.cache is not None
        case.run.begin(stage)
        return collect(everyone, *chosen, case.run, case.cache, str(stage), reader)[0]

    fit, test = read(LAYERS_KNOWN, known), read(LAYERS_JUDGED, judged)
    readings: dict[str, dict[str, Reading]] = {name: {} for name in names}
    for one in everyone:
        case.run.begin(step(Work.LAYERS, one.name))
        learned, tested = (
            by_layer(found[one.name], one, names, models.inputs) for found in (fit, test)
        )
        for name in names:
            readings[name][one.name] = replace(
                linear_probe(learned[name], tested[name], case.run.seed),
                attack=f"linear probe at {name}",
                identity=AttackId(AttackKind.LINEAR_AT_LAYER, layer=name),
            )
    return readings
