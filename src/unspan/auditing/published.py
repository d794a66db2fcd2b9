"""Scores as the papers print them, so that results can be compared; none of them decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from unspan.audit_record.vocabulary import ScoreGroup
from unspan.auditing.scores import Row, described, row
from unspan.errors import UsageError
from unspan.metrics.identity import AttackKind, ScoreKind
from unspan.metrics.member_rate import member_rate
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import NAME as KR
from unspan.metrics.retention import published_probe, recovery_rate
from unspan.metrics.rus import rus
from unspan.metrics.score import Reading, Score, share_interval
from unspan.metrics.unlearning import aus, avg_gap, nomus, zrf


def retention(name: str, fit: Outputs, test: Outputs, seed: int) -> tuple[list[Row], Reading]:
    """KR with the published probe, on all four splits."""
    reading = published_probe(fit, test, seed)
    rows = []
    for key, split, part, mask in (
        ("D_f", "train forget", fit, fit.forget),
        ("D_r", "train retain", fit, ~fit.forget),
        ("D_ft", "test forget", test, test.forget),
        ("D_rt", "test retain", test, ~test.forget),
    ):
        n, percent = int((mask & (part.labels >= 0)).sum()), reading.detail[key]
        low, high = share_interval(percent / 100 * n, n) if percent is not None else (None, None)
        score = Score(
            name=KR,
            value=None if percent is None else percent / 100,
            low=low,
            high=high,
            better="lower" if "forget" in split else "higher",
            split=split,
            n=n,
            note="compatibility: this probe is not trained to convergence",
            detail={"gradient": reading.detail["gradient"]},
        )
        rows.append(row(ScoreGroup.PUBLISHED, name, score, ScoreKind.KR))
    for key, split, part in (("HM", "train", fit), ("HM_t", "test", test)):
        value = reading.detail[key]
        rows.append(
            row(
                ScoreGroup.PUBLISHED,
                name,
                Score(
                    name=f"KR {key}",
                    value=None if value is None else value / 100,
                    better="higher",
                    split=split,
                    n=len(part),
                    note="harmonic mean over the published probe",
                ),
            )
        )
    return rows, reading


def recovery(original_own: float, reading: Reading) -> Row:
    """Recovery rate of Figure 1: what the published probe reads, over what the original model gets
    right.
    """
    rate = recovery_rate(100 * reading.value, 100 * original_own)
    return row(
        ScoreGroup.PUBLISHED,
        "after",
        Score(
            name="recovery rate",
            value=None if rate is None else rate / 100,
            better="lower",
            split="test forget",
            n=len(reading.forget),
            note="published probe on the erased features, over the original's accuracy",
        ),
    )


def forgetting_zrf(logits: Mapping[str, Tensor], random: Sequence[Tensor]) -> list[Row]:
    """ZRF, for every model whose scores are given."""
    rows = []
    for name, one in logits.items():
        try:
            rows.append(row(ScoreGroup.PUBLISHED, name, zrf(one, random, "test forget")))
        except UsageError:
            continue
    return rows


def table_five(
    fit: Mapping[str, Outputs],
    test: Mapping[str, Outputs],
    unseen: Tensor,
    references: Sequence[str],
    seed: int,
) -> list[Row]:
    """The columns of Table 5, member rate and accuracy on unseen data, for every model; the gap of
    the erased one to retraining.

    Args:
        fit: outputs on training data by model.
        test: outputs on test data by model.
        unseen: `[n]` bool, the test rows that no model was trained on.
        references: names of retrained models; none, and there is no gap.
        seed: of the attack's cut.
    """
    rows, columns = [], {}
    for name in test:
        known, held = (
            replace(one[name], features=one[name].features[:, :0]) for one in (fit, test)
        )  # scores only: rows of features would be copied
        if (
            held.logits is None
            or known.logits is None
            or bool((known.labels < 0).any())
            or bool((held.labels[unseen] < 0).any())
        ):
            return []
        rate = member_rate(
            known.rows(~known.forget),
            held.rows(unseen & ~held.forget),
            known.rows(known.forget),
            "train forget",
            seed=seed,
        )
        hit = {
            "D_f": _right(known.rows(known.forget)),
            "D_r": _right(known.rows(~known.forget)),
            "D_t": _right(held.rows(unseen)),
        }
        columns[name] = {key: 100 * value for key, value in hit.items()} | {
            "MIA": 100 * (rate.value or 0.0)
        }
        rows.append(row(ScoreGroup.PUBLISHED, name, rate))
    if references:
        rows.append(
            row(ScoreGroup.PUBLISHED, "after", avg_gap(columns["after"], columns[references[0]]))
        )
    return rows


def nomus_rows(test: Mapping[str, Outputs], unseen: Tensor, rows: Sequence[Row]) -> list[Row]:
    """NoMUS from accuracy on unseen data and the published loss attack, where both were
    measured.
    """
    found = []
    for name, held in test.items():
        attack = described(rows, ScoreKind.PUBLISHED_MEMBERSHIP, name)
        if held.logits is not None and attack is not None and attack.value is not None:
            score = nomus(_right(held.rows(unseen)), attack.value)
            found.append(
                row(
                    ScoreGroup.PUBLISHED,
                    name,
                    Score(
                        name=score.name,
                        value=score.value,
                        unit="1",
                        better="higher",
                        split="test",
                        n=int(unseen.sum()),
                        detail=score.detail,
                    ),
                )
            )
    return found


def aus_rows(before: Outputs, after: Outputs) -> list[Row]:
    """AUS of the erased model on test samples; none without answers, or without both kinds."""
    if (
        after.logits is None
        or before.logits is None
        or not 0 < int(after.forget.sum()) < len(after)
    ):
        return []
    kept = ~after.forget
    score = aus(
        _right(before.rows(kept)), _right(after.rows(kept)), _right(after.rows(after.forget))
    )
    return [row(ScoreGroup.PUBLISHED, "after", replace(score, split="test", n=len(after)))]


def rus_rows(
    test: Mapping[str, Outputs], retrained: Sequence[str], readings: Sequence[Reading]
) -> list[Row]:
    """RUS of the erased model, where a converged probe read it; the rows name what that read.

    Args:
        test: outputs on test data by model.
        retrained: names of retrained models; the first is compared with.
        readings: of the attacks on the erased model.
    """
    probes = [one for one in readings if one.identity.kind is AttackKind.LINEAR]
    if not probes:
        return []
    read, after = probes[0].value, test["after"]
    rows = [row(ScoreGroup.PUBLISHED, "after", rus(after, test["before"], "original", read))]
    if retrained and len(test[retrained[0]]) == len(after):
        score = rus(after, test[retrained[0]], "retrained", read)
        rows.append(row(ScoreGroup.PUBLISHED, "after", score))
    return rows


def run_time(receipt: Mapping[str, Any]) -> list[Row]:
    """Seconds that the erasure took, as its receipt says; evaluation is not counted."""
    seconds = receipt.get("seconds", {}).get("total")
    return (
        []
        if seconds is None
        else [
            row(
                ScoreGroup.PUBLISHED,
                "after",
                Score(
                    name="run time of the erasure",
                    value=float(seconds),
                    unit="seconds",
                    better="lower",
                    split="train forget",
                    note="from the receipt: wall time on the machine that erased",
                ),
            )
        ]
    )


def _right(part: Outputs) -> float:
    assert part.logits is not None
    return float((part.logits.argmax(1) == part.labels).double().mean())
