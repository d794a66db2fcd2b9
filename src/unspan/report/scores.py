"""Sections made of scores: a table with one row for each score and one column for each model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspan.metrics.identity import AttackKind
from unspan.report import figures, maps
from unspan.report.axes import class_rows
from unspan.report.document import Cell, Figure, Section, Table, rows, said, table, why
from unspan.report.formatting import BETTER, joined, literal, measured, number, thousands, upper
from unspan.report.rule import RETAINED, Topic

Rows = list[Mapping[str, Any]]
GROUPS = {  # group: title, first paragraph, caption
    "membership": (
        "Can it be told which samples were in the training data?",
        (
            "Membership inference: an attacker guesses from the outputs whether a sample was used"
            " for training. An AUC of 0.5 is guessing."
        ),
        "Membership inference: value and 95\u00a0% interval",
    ),
    "leakage": (
        "What the delivered files give away",
        "Whether somebody who holds the exported files can find out what was erased.",
        "Leakage of the files: value and 95\u00a0% interval",
    ),
    "cast": (
        "After rounding the weights",
        "Whether a smaller number format brings the erased knowledge back.",
        "After casts: value and 95\u00a0% interval",
    ),
    "stability": (
        "Does a second question give the erased samples away?",
        (
            "The same input with a little noise, or the mirrored image: if erased samples move more"
            " than others, they can be recognised by it."
        ),
        "Asked twice: value and 95\u00a0% interval",
    ),
    "representation": (
        "How far the features moved",
        "These numbers and pictures describe; none of them is a test.",
        "Distance between models",
    ),
    "sweep": (
        "Layer by layer",
        "What can be read before the last layer.",
        "Every layer: value and 95\u00a0% interval",
    ),
}
PUBLISHED = (
    "These scores are computed as the papers describe, so that results can be compared. They are"
    " not the basis of the verdict: the published probe stops before it has learned what it could,"
    " so a low value does not mean that the knowledge is gone."
)


def grouped(audit: Mapping[str, Any]) -> dict[str, Rows]:
    """The scores of each group; what belongs to no known group under `other`."""
    found: dict[str, Rows] = {}
    for one in rows(audit, "scores"):
        group = said(one, "group", 40)
        found.setdefault(
            (
                group
                if group in GROUPS or group in ("utility", "output", "published", "relearning")
                else "other"
            ),
            [],
        ).append(one)
    return found


def groups(audit: Mapping[str, Any], scores: Mapping[str, Rows]) -> list[Section]:
    """A section for each group of `GROUPS`, also for those that were not run."""
    drawn = {
        "representation": (maps.cosine, maps.embedding, figures.layer_change),
        "sweep": (figures.sweep,),
    }
    found = []
    for group, (title, lead, caption) in GROUPS.items():
        pictures: list[Figure] = [
            picture for draw in drawn.get(group, ()) if (picture := draw(audit))
        ]
        own = scores.get(group, [])
        layers = _layers(audit) if group == "sweep" else []
        if own or pictures or layers:
            found.append(
                Section(
                    group,
                    title,
                    [lead],
                    tables=[*([score_table(caption, own)] if own else []), *layers],
                    figures=pictures,
                )
            )
        else:
            found.append(Section(group, title, missing=why(audit, Topic(group))))
    if "other" in scores:
        found.append(
            Section(
                "other",
                "Other scores",
                tables=[score_table("Other scores: value and 95\u00a0% interval", scores["other"])],
            )
        )
    return found


def _layers(audit: Mapping[str, Any]) -> list[Table]:
    """What a probe reads at earlier layers."""
    lines = [
        [
            Cell(said(one, "layer", 60)),
            *(Cell(measured(one.get(key)).value) for key in ("before", "after", "reference")),
        ]
        for one in rows(table(audit, "figures"), "sweep")
    ]
    return (
        [
            Table(
                "Forgotten test samples that a linear probe recognises, layer by layer",
                ["Layer", "Before", "After erasing", "Reference"],
                lines,
            )
        ]
        if lines
        else []
    )


def score_table(caption: str, found: Rows) -> Table:
    """Scores with one row for each name and split."""
    models = _models(found)
    lines: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for one in found:
        lines.setdefault((said(one, "name", 120), said(one, "split", 60)), {})[
            said(one, "model", 40)
        ] = one
    body = []
    for (name, split), own in lines.items():
        values = {model: _value(one) for model, one in own.items()}
        notes = dict.fromkeys(said(one, "note") for one in own.values())
        sizes = dict.fromkeys(thousands(value.n) for value in values.values() if value.n)
        better = BETTER.get(str(next(iter(own.values())).get("better")), BETTER["none"])
        cells = [
            Cell(values[model].value, values[model].interval) if model in values else Cell("–")
            for model in models
        ]
        body.append(
            [
                Cell(name, joined(better, *notes)),
                Cell(split or "all"),
                *cells,
                Cell(" / ".join(sizes) or "–"),
            ]
        )
    return Table(
        caption, ["Score", "Samples", *(_title(model, models) for model in models), "n"], body
    )


def _models(found: Rows) -> list[str]:
    seen = list(dict.fromkeys(said(one, "model", 40) for one in found))
    return [one for one in ("before", "after") if one in seen] + [
        one for one in seen if one not in ("before", "after")
    ]


def _title(model: str, models: list[str]) -> str:
    return (
        "Reference"
        if model == "reference 1" and "reference 2" not in models
        else upper(model) or "Model"
    )


def _value(one: Mapping[str, Any]) -> Any:
    return measured(
        one.get("value"),
        one.get("low"),
        one.get("high"),
        one.get("unit", "share"),
        one.get("n"),
        hits=False,
    )


def published(audit: Mapping[str, Any], scores: Mapping[str, Rows]) -> Section:
    """Scores as printed in papers, and what an attack that runs to its end says beside them."""
    found, title = scores.get("published", []), "Published scores: compatibility — not converged"
    if not found:
        return Section("published", title, missing=why(audit, Topic.PUBLISHED))
    return Section(
        "published",
        title,
        [PUBLISHED, *_beside(audit, found)],
        tables=[
            score_table(
                "Published scores (compatibility — not converged): value and 95\u00a0% interval",
                found,
            )
        ],
    )


def _kind(attack: Mapping[str, Any]) -> Any:
    return table(attack, "identity").get("kind")


def _beside(audit: Mapping[str, Any], found: Rows) -> list[str]:
    low = [
        one
        for one in found
        if one.get("model") == "after"
        and one.get("better") == "lower"
        and one.get("unit") == "share"
        and number(one.get("value")) is not None
    ]
    strong = [
        one
        for one in rows(audit, "attacks")
        if one.get("verdict") == RETAINED
        and one.get("unit") != "AUC"
        and number(one.get("erased")) is not None
    ]
    low.sort(
        key=lambda one: ("test" not in said(one, "split"), one.get("kind") != "knowledge_retention")
    )
    strong.sort(
        key=lambda one: (
            _kind(one) != AttackKind.LINEAR,
            _kind(one) != AttackKind.LINEAR_WHITENED,
        )
    )
    if not low or not strong or strong[0]["erased"] - low[0]["value"] < 0.1:
        return []
    read = measured(
        strong[0]["erased"],
        strong[0].get("erased_low"),
        strong[0].get("erased_high"),
        "share",
        strong[0].get("n"),
    )
    return [
        f"Here {said(low[0], 'name', 80)} reads {_value(low[0]).line}, which alone would look like"
        f" an erasure. Another attack ({said(strong[0], 'attack', 80)}) reads {read.line} from the"
        " same model: the knowledge is still there."
    ]


def utility(audit: Mapping[str, Any], scores: Mapping[str, Rows]) -> Section:
    """What the model itself names, and what the erasure cost the other classes."""
    captions = {
        "output": "What the model itself still names: value and 95\u00a0% interval",
        "utility": "Accuracy and calibration of the model itself: value and 95\u00a0% interval",
    }
    tables = [
        score_table(caption, scores[group])
        for group, caption in captions.items()
        if scores.get(group)
    ]
    classes = class_rows(audit)
    if classes:
        tables.append(
            Table(
                "Accuracy of the model itself, class by class",
                ["Class", "Before", "After", "Points", "n"],
                [_class_line(one) for one in classes],
                long=len(classes) > 12,
            )
        )
    figure = figures.per_class(audit)
    missing = "" if tables else why(audit, Topic.UTILITY)
    return Section(
        "utility",
        "What the model itself names, and what the erasure cost",
        _worst(classes),
        tables=tables,
        figures=[figure] if figure else [],
        missing=missing,
    )


def _class_line(one: Mapping[str, Any]) -> list[Cell]:
    before, after = (
        measured(one["before"], n=one["n"]),
        measured(one["after"], one["low"], one["high"], "share", one["n"]),
    )
    points = (
        f"{100 * (one['after'] - one['before']):+.1f}".replace("-", "−")
        .replace("+0.0", "0.0")
        .replace("−0.0", "0.0")
    )
    name = Cell(
        literal(one["name"], 60),
        "to be forgotten" if one["forget"] else "",
        "forget" if one["forget"] else "",
    )
    return [
        name,
        Cell(before.value, before.interval),
        Cell(after.value, after.interval),
        Cell(points),
        Cell(thousands(one["n"]) if one["n"] else "unknown"),
    ]


def _worst(classes: list[dict[str, Any]]) -> list[str]:
    kept = [one for one in classes if not one["forget"]]
    if not kept:
        return []
    worst = min(kept, key=lambda one: one["after"] - one["before"])
    if worst["after"] >= worst["before"]:
        return ["No class that was to be kept lost accuracy."]
    before, after = (
        measured(worst["before"], n=worst["n"]),
        measured(worst["after"], worst["low"], worst["high"], "share", worst["n"]),
    )
    return [
        f"Largest loss in a class that was to be kept: {literal(worst['name'], 60)}. Before:"
        f" {before.line}. After: {after.line}."
    ]
