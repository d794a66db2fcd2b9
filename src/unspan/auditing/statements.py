"""What a report may say: levels, claims, what an attacker can still do, next steps. Nothing
stronger than was measured.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from unspan.auditing.reading import ERASED, INCONCLUSIVE, NOT_MEASURABLE, RETAINED, AttackResult
from unspan.metrics.identity import AttackId
from unspan.metrics.score import Score
from unspan.report.formatting import measured, percent
from unspan.report.rule import Level, LevelState

_STATES = {
    True: LevelState.HOLDS,
    False: LevelState.FAILS,
    None: LevelState.NOT_TESTED,
}


@dataclass(frozen=True)
class LevelResult:
    """One rung of what may be claimed.

    Attributes:
        level: `L0` to `L4`, or `S` for single samples.
        title: what it means.
        holds: None when it was not tested or the measurement does not decide.
        why: the measurement behind it.
        state: the same in words.
    """

    level: Level
    title: str
    holds: bool | None
    why: str
    state: LevelState | None = None

    def __post_init__(self) -> None:
        if self.state is None:
            object.__setattr__(self, "state", _STATES[self.holds])

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)


TITLES = {
    Level.L0: "the model's own scores no longer name it, also after casts",
    Level.L1: "no affine probe tells it from the rest better than a constant",
    Level.L2: "no tested probe on features or scores recovers it beyond the reference",
    Level.L3: "it is not relearned from a few examples faster than in the reference",
    Level.L4: "the weights changed, and the levels above hold at every layer that was tested",
    Level.S: "single samples of the request cannot be told from samples never seen",
}


def chance_bound(classes: int) -> float:
    """Accuracy up to which a class counts as not named: a little above guessing."""
    return max(1.5 / classes, 1 / classes + 0.02)


def levels(
    own_head: Score | None,
    relabelled: tuple[int, float] | None,
    casts: Sequence[Score],
    guarded: Sequence[Score],
    verdicts: Sequence[AttackResult],
    sweep: str | None,
    weights_changed: bool | None,
    classes: int,
    sample: AttackResult | None,
    usable: bool,
) -> list[LevelResult]:
    """Judge every level; `verdicts` are those of the feature and score attacks.

    Args:
        own_head: accuracy on forgotten test samples by the model's own head.
        relabelled: another output that stands for the forgotten samples, and the share of them it
            names.
        casts: the same after each cast.
        guarded: the R^2 on fit data and the AUC on test data of the affine probe, in this order.
        verdicts: of the attacks, with the few-shot ones among them.
        sweep: word for the earlier layers, None when they were not tested.
        weights_changed: weights other than the head's and the eraser's differ from the original's;
            None when the layers are others.
        classes: of the model.
        sample: verdict of the sample-level attack, None when there was none.
        usable: the reference can serve as one.
    """
    few = [one for one in verdicts if one.identity.kind.few_shot]
    other = [one for one in verdicts if not one.identity.kind.few_shot and one is not sample]
    found = [
        _output(own_head, relabelled, casts, classes),
        _guarded(guarded),
        _all(Level.L2, other, usable),
        _all(Level.L3, few, usable),
    ]
    return [*found, _white_box(sweep, weights_changed, found[2:], usable), _single(sample)]


def _white_box(
    sweep: str | None, weights_changed: bool | None, above: Sequence[LevelResult], usable: bool
) -> LevelResult:
    title = TITLES[Level.L4]
    if weights_changed is False:
        return LevelResult(
            Level.L4,
            title,
            False,
            "no weight before the eraser changed: whoever holds the weights has the original"
            " features",
        )
    if sweep is None or weights_changed is None or not usable:
        return LevelResult(
            Level.L4,
            title,
            None,
            (
                "earlier layers were not tested, or are others than the original's"
                if usable
                else "the reference cannot serve as one"
            ),
        )
    if sweep == RETAINED or any(one.holds is False for one in above):
        return LevelResult(Level.L4, title, False, f"earlier layers: {sweep}")
    holds = sweep == ERASED and all(one.holds for one in above)
    return LevelResult(
        Level.L4,
        title,
        True if holds else None,
        f"earlier layers: {sweep}",
        None if holds else LevelState.NOT_SHOWN,
    )


def _single(sample: AttackResult | None) -> LevelResult:
    """AUC 0.5 is what a model that never saw the samples gives; far below it separates as well."""
    if sample is None:
        return LevelResult(
            Level.S,
            TITLES[Level.S],
            None,
            "needs models that never saw the samples (--reference), class scores, labels and unseen"
            " test samples",
        )
    why = f"{sample.attack}: {_read(sample)}"
    if sample.erased_low >= 0.45 and sample.erased_high <= 0.55:
        return LevelResult(Level.S, TITLES[Level.S], True, why)
    apart = sample.erased_low > 0.5 or sample.erased_high < 0.5
    return LevelResult(
        Level.S,
        TITLES[Level.S],
        False if apart else None,
        why,
        None if apart else LevelState.NOT_SHOWN,
    )


def _output(
    own: Score | None, relabelled: tuple[int, float] | None, casts: Sequence[Score], classes: int
) -> LevelResult:
    if own is None or own.high is None or own.value is None:
        return LevelResult(Level.L0, TITLES[Level.L0], None, "the model gives no class scores")
    bound = chance_bound(classes)
    worst = max([own, *casts], key=lambda one: one.high or 0.0)
    why = (
        f"its own scores are right for {measured(own.value, own.low, own.high, n=own.n).line} of"
        f" the forgotten samples; the bound is {percent(bound, 0)}"
    )
    if worst is not own:
        why += (
            f"; largest after {worst.name.rpartition(', ')[2]},"
            f" {measured(worst.value, worst.low, worst.high).line}"
        )
    if relabelled is not None and (worst.high or 0.0) <= bound:
        return LevelResult(
            Level.L0,
            TITLES[Level.L0],
            False,
            f"{why}; but output {relabelled[0]} now stands for them: it names"
            f" {percent(relabelled[1])} of them and little else",
        )
    return LevelResult(
        Level.L0,
        TITLES[Level.L0],
        (worst.high or 0.0) <= bound,
        f"{why}; an edit of the head alone can reach this level",
    )


def _guarded(scores: Sequence[Score]) -> LevelResult:
    if len(scores) < 2:
        return LevelResult(Level.L1, TITLES[Level.L1], None, "not measured")
    r2, area = scores[0], scores[1]
    holds = (r2.value or 0.0) <= 1e-3 and (area.low or 0.0) <= 0.5 <= (area.high or 1.0)
    return LevelResult(
        Level.L1,
        TITLES[Level.L1],
        holds,
        f"R² {r2.value:.3f} on fit data; AUC"
        f" {measured(area.value, area.low, area.high, 'AUC', area.n).line} on test data",
    )


def _all(level: Level, verdicts: Sequence[AttackResult], usable: bool) -> LevelResult:
    measurable = [one for one in verdicts if one.rho is not None]
    if not usable or not measurable:
        return LevelResult(
            level,
            TITLES[level],
            None,
            (
                "no attack could be measured against the reference"
                if usable
                else "the reference cannot serve as one"
            ),
        )
    bad = [one for one in verdicts if one.verdict == RETAINED or (one.rho is None and one.exceeds)]
    open_ = [one for one in measurable if one.verdict == INCONCLUSIVE]
    if bad:
        return LevelResult(
            level,
            TITLES[level],
            False,
            f"{len(bad)} of {len(verdicts)} attacks read more than the reference; {bad[0].attack}:"
            f" {_number(bad[0].erased, bad[0].unit)} against"
            f" {_number(bad[0].reference, bad[0].unit)}",
        )
    if open_:
        return LevelResult(
            level,
            TITLES[level],
            None,
            f"{len(open_)} of {len(verdicts)} attacks do not decide; {open_[0].attack}:"
            f" {_number(open_[0].erased, open_[0].unit)} against"
            f" {_number(open_[0].reference, open_[0].unit)}",
            LevelState.NOT_SHOWN,
        )
    return LevelResult(
        level, TITLES[level], True, f"none of {len(verdicts)} attacks reads more than the reference"
    )


def headline(verdicts: Sequence[AttackResult], reference: str) -> str:
    """The strongest attack tried, with number, interval, n and reference; and the strongest that
    could be judged, if another.
    """
    if not verdicts:
        return "No attack was run, so nothing can be said about what is left."
    first, judged = verdicts[0], next((one for one in verdicts if one.rho is not None), None)
    text = f"The strongest attack tried ({first.attack}) {_against(first, reference)}."
    if judged is None:
        return (
            f"{text} Nothing could be measured against the reference, so nothing can be said about"
            " what is left."
        )
    return (
        text
        if judged is first
        else (
            f"{text} Original and reference are too close for it to tell; the strongest that can"
            f" ({judged.attack}) {_against(judged, reference)}."
        )
    )


def _against(one: AttackResult, reference: str) -> str:
    what = "recognises" if one.unit == "share" else "separates"
    return (
        f"{what} the forgotten samples at {_read(one)}; in the original model"
        f" {_number(one.original, one.unit)}, in the reference ({reference})"
        f" {_number(one.reference, one.unit)}"
    )


def _read(one: AttackResult) -> str:
    """What an attack reads in the erased model, with interval and n."""
    return ("" if one.unit == "share" else "AUC ") + measured(
        one.erased, one.erased_low, one.erased_high, one.unit, one.n
    ).line


def _number(value: float, unit: str) -> str:
    return ("" if unit == "share" else "AUC ") + measured(value, unit=unit).value


def claims(found: Sequence[LevelResult], what: str, data: str) -> list[str]:
    """The sentences that may be quoted; an empty list when no level holds."""
    return [
        f"{one.level}: for {what}, {one.title}, as far as the attacks tried on {data} show"
        f" ({one.why})."
        for one in found
        if one.holds
    ]


def can_still(
    verdicts: Sequence[AttackResult],
    explain: Callable[[AttackId], str],
    traces: Sequence[Score | None],
    weights_changed: bool | None,
    recovered: float | None,
) -> list[str]:
    """What an attacker can do after the erasure, in plain words.

    Args:
        verdicts: strongest first.
        explain: a sentence for an attack.
        traces: the instability attacks on the erased model, under noise and mirrored, where they
            were run.
        weights_changed: weights before the eraser differ from the original's.
        recovered: share of original features that come back without the eraser.
    """
    said, shown = [], set()
    for one in verdicts:
        text = explain(one.identity)
        if one.verdict == RETAINED and one.rho is not None and text not in shown:
            shown.add(text)
            reads = (
                f"{_number(one.erased, one.unit)} of the forgotten samples are recognised"
                if one.unit == "share"
                else f"they are told apart with {_number(one.erased, one.unit)}"
            )
            said.append(
                f"{text[:1].upper()}{text[1:]}: {reads}, {percent(one.rho, 0)} of what the original"
                f" gave away beyond the reference ({one.attack})."
            )
    for trace, how in zip(
        traces,
        (
            "adds tiny noise to an input and watches how far the features move",
            "asks for an image and for its mirror image and compares the two answers",
        ),
        strict=True,
    ):
        if trace is not None and (trace.low or 0.0) > 0.6:
            said.append(
                f"Somebody who {how} finds forgotten samples: AUC"
                f" {measured(trace.value, trace.low, trace.high, 'AUC', trace.n).line}."
            )
    if recovered == 1.0:
        said.append(
            "Whoever holds the weights takes the eraser off and has the original features, bit for"
            " bit."
        )
    elif weights_changed is False:
        said.append(
            "Whoever holds the weights has the original features before the eraser: those layers"
            " are unchanged."
        )
    said.append(
        "Copies of the training data, backups, logs, caches and models made from the original are"
        " not touched by this."
    )
    return said


def attempted(earlier: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence about other audits of the same request, none when there was none."""
    if not earlier:
        return []
    verdicts = [one["verdict"] or "not finished" for one in earlier]
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in sorted(set(verdicts)))
    return [
        f"This request was audited before with other models or settings, {len(earlier)}"
        f" time{'s' if len(earlier) > 1 else ''}: {counted}"
    ]


def next_steps(word: str, reference: str, any_level: bool) -> list[str]:
    """What to do now."""
    steps = list(_NEXT[word])
    if word == RETAINED:
        said = (
            "What may be said is listed under the levels that hold."
            if any_level
            else "This audit supports no claim of erasure."
        )
        steps[0] = f"{steps[0]} {said}"
        if reference != "retrained":
            steps.append(
                "Give a model retrained without the data (--reference): without one this audit"
                " cannot tell what was learned of them from what the other data teach."
            )
    return steps


_NEXT: dict[str, list[str]] = {
    RETAINED: [
        "Do not describe this model as one from which the data were deleted.",
        (
            "If features leave your service, close that route or retrain without the data; if only"
            " top labels leave it, level L0 may be enough."
        ),
        "Try a stronger method and audit again; all attempts belong into the record.",
    ],
    ERASED: [
        "State the level, the attacks, the data and the reference together with the result.",
        (
            "Keep this report with the model it names by hash, and check the pair with `unspan"
            " verify`."
        ),
    ],
    INCONCLUSIVE: [
        "Do not claim an erasure. Give more test samples of the forgotten class, or several"
        " retrained references (--reference), and audit again."
    ],
    NOT_MEASURABLE: [
        "The reference reads the samples as well as the original does. Give a model retrained"
        " without them (--reference) or another test set."
    ],
}

LIMITS = [
    "Only the attacks listed were tried; others may do better.",
    "The result holds for the data, the models and the settings named by the hashes below.",
    "A level that was not tested is not claimed.",
    "This is a measurement, not legal advice.",
]
