"""What a report says of its measurements, in sentences. Nothing stronger than was measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from unspan.audit_record.record import AttackResult, EarlierAudit, LevelResult
from unspan.audit_record.vocabulary import INCONCLUSIVE, RETAINED, ReferenceKind, Verdict
from unspan.metrics.identity import AttackId
from unspan.metrics.score import Score
from unspan.report.formatting import measured, percent, upper

TRACE_ABOVE = 0.6  # lower end of an AUC from which asking twice counts as a way in
_NOISE = "adds tiny noise to an input and watches how far the features move"
_TAKEN_OFF = (
    "Whoever holds the weights takes the eraser off and has the original features, bit for bit."
)
_BEFORE_THE_ERASER = (
    "Whoever holds the weights has the original features before the eraser: those layers are"
    " unchanged."
)
_HEAD_ONLY = (
    "Only what the head says could be judged, and a head can be edited alone: the features could"
    " not be told from those of retrained networks, nor from the original's."
)
_COPIES = (
    "Copies of the training data, backups, logs, caches and models made from the original are not"
    " touched by this."
)
LIMITS = [
    "Only the attacks listed were tried; others may do better.",
    "The result holds for the data, the models and the settings named by the hashes below.",
    "A level that was not tested is not claimed.",
    "This is a measurement, not legal advice.",
]
TEST_WAS_TRAINED_ON = (
    "The samples the attacker is judged on were in the training data of the original model: a test"
    " split says more."
)


def headline(attacks: Sequence[AttackResult], reference: ReferenceKind, verdict: Verdict) -> str:
    """The attack that decides, with number, interval, n and reference."""
    if not attacks:
        return "No attack was run, so nothing can be said about what is left."
    first = attacks[0]
    if verdict is INCONCLUSIVE and first.verdict is not INCONCLUSIVE:
        return _HEAD_ONLY
    text = f"What decides: {first.attack} {_against(first, reference)}."
    if first.note:
        return f"{text} {upper(first.note)}."
    return text


def _against(one: AttackResult, reference: ReferenceKind) -> str:
    what = "recognises" if one.unit == "share" else "separates"
    alarms = ""
    if one.false_positives is not None:
        alarms = f", and takes {percent(one.false_positives)} of the others for them"
    text = (
        f"{what} the forgotten samples at {read_of(one)}{alarms}; in the original model"
        f" {written(one.original, one.unit)}"
    )
    if one.reference is None:
        return text
    return f"{text}, in the reference ({reference}) {written(one.reference, one.unit)}"


def read_of(one: AttackResult) -> str:
    """What an attack reads in the erased model, with interval and n."""
    read = measured(one.erased, one.erased_low, one.erased_high, one.unit, one.n).line
    return read if one.unit == "share" else f"AUC {read}"


def written(value: float, unit: str) -> str:
    """A share as percent, an AUC as such."""
    text = measured(value, unit=unit).value
    return text if unit == "share" else f"AUC {text}"


def claims(found: Sequence[LevelResult], what: str, data: str) -> list[str]:
    """The sentences that may be quoted; an empty list when no level holds."""
    return [
        f"{one.level}: for {what}, {one.title}, as far as the attacks tried on {data} show"
        f" ({one.why})."
        for one in found
        if one.holds
    ]


def can_still(
    attacks: Sequence[AttackResult],
    explain: Callable[[AttackId], str],
    *,
    noise: Score | None,
    weights_changed: bool | None,
    recovered: float | None,
) -> list[str]:
    """What an attacker can do after the erasure, in plain words.

    Args:
        attacks: strongest first.
        explain: a sentence for an attack.
        noise: the instability attack on the erased model under noise, where it was run.
        weights_changed: weights before the eraser differ from the original's.
        recovered: share of original features that come back without the eraser.
    """
    said: dict[str, str] = {}  # by explanation: the strongest attack of its kind speaks
    for one in attacks:
        text = explain(one.identity)
        if one.verdict == RETAINED:
            said.setdefault(text, _retained(one, text))
    found = list(said.values())
    if noise is not None and (noise.low or 0.0) > TRACE_ABOVE:
        read = measured(noise.value, noise.low, noise.high, "AUC", noise.n).line
        found.append(f"Somebody who {_NOISE} finds forgotten samples: AUC {read}.")
    if recovered == 1.0:
        found.append(_TAKEN_OFF)
    elif weights_changed is False:
        found.append(_BEFORE_THE_ERASER)
    return [*found, _COPIES]


def _retained(one: AttackResult, explained: str) -> str:
    read = written(one.erased, one.unit)
    if one.unit == "share":
        told = f"{read} of the forgotten samples are recognised"
    else:
        told = f"they are told apart with {read}"
    part = ""
    if one.rho is not None:
        kept = percent(min(max(one.rho, 0.0), 1.0), 0)
        part = f", {kept} of what the original gave away beyond networks that never learned them"
    return f"{upper(explained)}: {told}{part} ({one.attack})."


def attempted(earlier: Sequence[EarlierAudit]) -> list[str]:
    """A sentence about other audits of the same request, none when there was none."""
    if not earlier:
        return []
    verdicts = [str(one.verdict or "not finished") for one in earlier]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    return [
        f"This request was audited before with other models or settings, {len(earlier)}"
        f" time{'s' if len(earlier) > 1 else ''}: {counted}"
    ]
