"""What the first screen of a report says, taken from an audit: verdict, request, what an attacker
can still do, next step.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unspan.errors import UsageError
from unspan.report.document import Section, rows, said, sentences, table, why
from unspan.report.formatting import (
    Measured,
    count,
    fraction,
    joined,
    literal,
    measured,
    number,
    thousands,
)
from unspan.report.rule import (
    ERASED,
    GOAL_NAME,
    INCONCLUSIVE,
    MARK,
    NOT_MEASURABLE,
    RETAINED,
    SCHEMA,
    Goal,
    Topic,
)
from unspan.report.sections import sections, stopped

_GOAL_NAMES = {goal.value: name for goal, name in GOAL_NAME.items()}
MEANING: dict[str, str] = {
    ERASED: (
        "No attack that was fitted reads more than the reference does. This holds for the levels"
        " named here, not beyond."
    ),
    RETAINED: "What was to be erased can still be read out of the new model.",
    INCONCLUSIVE: "The measurements do not decide. No erasure may be claimed from them.",
    NOT_MEASURABLE: (
        "This audit cannot tell whether anything was erased. No erasure may be claimed from it."
    ),
}


@dataclass(frozen=True)
class Reached:
    """What the strongest attack reads.

    Attributes:
        attack: its name.
        share: True for a share of samples, False for an AUC.
        before: in the original.
        after: in the erased model.
        reference: in the reference.
        part: the recoverable part.
    """

    attack: str
    share: bool
    before: Measured
    after: Measured
    reference: Measured
    part: Measured


@dataclass(frozen=True)
class View:
    """A report in words, before it is written as HTML or Markdown.

    Attributes:
        created: when the audit ran.
        verdict: one of the four words.
        mark: its sign: `yes`, `no`, `open`, `none`.
        meaning: the verdict in one sentence.
        levels: which levels hold, do not hold, were not tested.
        notices: warnings about the audit itself.
        asked: the request in one sentence.
        tested: samples and method.
        headline: the audit's own sentence.
        strongest: numbers of the strongest attack, None when no attack was run.
        missing: why no attack was run.
        reference: what the numbers are compared with.
        still: what an attacker can still do.
        next_steps: what to do now.
        sections: everything below the first screen.
    """

    created: str
    verdict: str
    mark: str
    meaning: str
    levels: str
    notices: list[str]
    asked: str
    tested: str
    headline: str
    strongest: Reached | None
    missing: str
    reference: str
    still: list[str]
    next_steps: list[str]
    sections: list[Section]


def view(audit: Mapping[str, Any]) -> View:
    """Read an audit for people.

    Raises:
        UsageError: this is not an audit, or one of a later version.
    """
    if not isinstance(audit, Mapping):
        raise UsageError("a report needs the content of an audit.json: a JSON object")
    schema = audit.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise UsageError(
            f"this report reads {SCHEMA}, the audit says {literal(schema, 60)!r}: install a version"
            " of unspan that knows it"
        )
    word = audit.get("verdict") or NOT_MEASURABLE
    if not isinstance(word, str) or word not in MARK:
        raise UsageError(
            f"unknown verdict {literal(word, 60)!r}: expected one of {', '.join(MARK)}"
        )
    attacks = rows(audit, "attacks")
    return View(
        created=_when(said(audit, "created", 40)),
        verdict=word,
        mark=MARK[word],
        meaning=_meaning(audit, word),
        levels=joined(_levels(audit), _goals(audit)),
        notices=_notices(audit, word),
        asked=_asked(audit),
        tested=_tested(audit),
        headline=said(audit, "headline"),
        strongest=_strongest(attacks[0]) if attacks else None,
        missing="" if attacks else why(audit, Topic.ATTACKS),
        reference=reference(audit),
        still=sentences(audit, "can_still"),
        next_steps=sentences(audit, "next_steps"),
        sections=sections(audit, reference(audit)),
    )


def _when(text: str) -> str:
    found = re.fullmatch(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:\+00:00|Z)", text)
    return f"{found[1]} {found[2]} UTC" if found else text


def _strongest(row: Mapping[str, Any]) -> Reached:
    unit, n = row.get("unit"), row.get("n")
    return Reached(
        attack=said(row, "attack", 80),
        share=unit != "AUC",
        before=measured(row.get("original"), unit=unit, n=n),
        after=measured(row.get("erased"), row.get("erased_low"), row.get("erased_high"), unit, n),
        reference=measured(row.get("reference"), unit=unit, n=n),
        part=fraction(row.get("rho"), row.get("rho_low"), row.get("rho_high")),
    )


def reference(audit: Mapping[str, Any]) -> str:
    """What the numbers are compared with, in words."""
    found = table(audit, "reference")
    many = count(found.get("count")) or 1
    models = "1 model" if many == 1 else f"{thousands(many)} models"
    return {
        "retrained": f"{models} retrained without these data",
        "random weights": f"{models} of the same shape with random weights",
        "raw pixels": "the images themselves, without any network",
    }.get(str(found.get("kind")), said(found, "kind", 80) or "no reference recorded")


def _asked(audit: Mapping[str, Any]) -> str:
    request = table(audit, "request")
    names = (
        [literal(one, 40) for one in request.get("selector") or [] if isinstance(one, (str, int))]
        if isinstance(request.get("selector"), list)
        else []
    )
    samples = count(request.get("samples"))
    if request.get("kind") == "class" and names:
        more = f" and {thousands(len(names) - 3)} more" if len(names) > 3 else ""
        return f"Forget the class{'es' if len(names) > 1 else ''} {', '.join(names[:3])}{more}"
    if samples:
        return (  # never names or ids of single samples
            f"Forget {thousands(samples)} sample{'s' if samples > 1 else ''}"
        )
    return "The request was not recorded"


def _tested(audit: Mapping[str, Any]) -> str:
    request, method = table(audit, "request"), table(audit, "method")
    samples, tests = count(request.get("samples")), count(request.get("test_samples"))
    parts = [
        (
            f"{thousands(samples)} samples to be forgotten"
            if samples and request.get("kind") == "class"
            else ""
        ),
        (
            f"audited on {thousands(tests)} sample{'s' if tests > 1 else ''}"
            + (f" ({said(request, 'test', 60)})" if said(request, "test") else "")
            if tests
            else ""
        ),
    ]
    how = (
        f"Method: {said(method, 'name', 60)}"
        + (f" ({said(method, 'form', 60)} form)" if said(method, "form") else "")
        if said(method, "name")
        else ""
    )
    return joined("; ".join(filter(None, parts)), how, _cost(audit))


def _levels(audit: Mapping[str, Any]) -> str:
    found = rows(audit, "levels")
    if not found:
        return "No level was tested."
    kinds = (
        ("Levels that hold", "holds"),
        ("Levels that do not hold", "does not hold"),
        ("Not shown", "not shown"),
        ("Not tested", "not tested"),
    )
    named = [
        (title, [said(one, "level", 8) for one in found if _state(one) == state])
        for title, state in kinds
    ]
    return " ".join(
        f"{title}: {', '.join(names) if names else 'none'}."
        for title, names in named
        if names or title == kinds[0][0]
    )


def _goals(audit: Mapping[str, Any]) -> str:
    """How many goals for a service are met, and what misses one."""
    found = rows(audit, "goals")
    if not found:
        return ""
    missed = [
        f"{_GOAL_NAMES.get(said(one, 'id'), said(one, 'goal'))}"
        f" ({measured(one.get('value'), unit=said(one, 'unit', 20)).value})"
        for one in found
        if one.get("met") is not True
    ]
    return f"Goals for a service: {len(found) - len(missed)} of {len(found)} met." + (
        f" Not met: {'; '.join(missed)}." if missed else ""
    )


def _state(level: Mapping[str, Any]) -> str:
    holds = level.get("holds")
    return said(level, "state", 20) or (
        "holds" if holds is True else "does not hold" if holds is False else "not tested"
    )


def _meaning(audit: Mapping[str, Any], word: str) -> str:
    if word == RETAINED and table(audit, "reference").get("kind") in (
        "random weights",
        "raw pixels",
    ):
        return (
            "More of what was to be erased can be read out of the new model than out of an"
            " untrained one. Whether a network retrained without it would give away as much was not"
            " measured."
        )
    twice = any(
        one.get("id") in (Goal.NOISE.value, Goal.MIRROR.value) and one.get("met") is not True
        for one in rows(audit, "goals")
    )
    return MEANING[word] + (
        " Who asks about the same image twice and compares finds traces of it (see the goals)."
        if word == ERASED and twice
        else ""
    )


def _cost(audit: Mapping[str, Any]) -> str:
    """What the erasure cost, in one sentence."""
    found = {
        said(one, "model"): one
        for one in rows(audit, "scores")
        if (one.get("kind"), said(one, "split")) == ("retain_accuracy", "test retain")
    }
    values = [
        measured(found[name].get("value"), n=found[name].get("n")).value
        for name in ("before", "after")
        if name in found
    ]
    return (
        f"On what was to be kept the model itself is right for {values[0]} before and {values[1]}"
        " after."
        if len(values) == 2
        else ""
    )


def _notices(audit: Mapping[str, Any], word: str) -> list[str]:
    found = []
    if not audit.get("verdict"):
        found.append("The audit recorded no verdict.")
    controls = rows(audit, "controls")
    failed = [one for one in controls if one.get("ok") is not True]
    if failed:
        found.append(
            f"Do not rely on this verdict: {len(failed)} of {len(controls)} self-tests of this"
            " audit failed."
        )
    kept = {
        said(one, "model"): number(one.get("value"))
        for one in rows(audit, "scores")
        if (one.get("kind"), said(one, "split")) == ("retain_accuracy", "test retain")
    }
    if (
        kept.get("before") is not None
        and kept.get("after") is not None
        and (kept["before"] or 0) - (kept["after"] or 0) > 0.1
    ):
        found.append(
            f"The new model lost much of what was to be kept: {measured(kept['after']).value}"
            f" right, {measured(kept['before']).value} before."
        )
    early = [said(one, "attack", 60) for one in rows(audit, "attacks") if stopped(one)]
    if early:
        found.append(
            "NOT CONVERGED, could read more:"
            f" {', '.join(early[:3])}{' and others' if len(early) > 3 else ''}."
        )
    found += sentences(audit, "notes")[:5]
    if not controls:
        found.append("The self-tests of this audit were not run.")
    if word == ERASED and any(one.get("verdict") == RETAINED for one in rows(audit, "attacks")):
        found.append(
            "Do not rely on this verdict: at least one attack in the table below says RETAINED."
        )
    return found
