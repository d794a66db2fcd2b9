"""A comparison of audits for people: one self-contained HTML page, and the same as Markdown."""

from __future__ import annotations

import re

from markupsafe import Markup

from unspan.audit_record.summary import Cost
from unspan.report.agreement import NEEDED, Shared
from unspan.report.comparison import Comparison, Gain, Outcome
from unspan.report.document import MARK, Cell, Figure, Table
from unspan.report.dumbbells import Line, dumbbells
from unspan.report.formatting import SPACE, joined, literal, percent, thousands
from unspan.report.markdown import grid, plain
from unspan.report.page import SIGNS, environment
from unspan.system.palette import DARK, LIGHT, variables

NONE = "–"
_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{12})[0-9a-f]{52}")
_PLACES = (
    "Place 1 leaves least beyond retrained networks, by the attacker who gains most beyond them."
    " Audits whose 95 % intervals overlap share a place. Less than a retrained network is not"
    " better: it is a trace of its own, see the verdict."
)
_GAIN = (
    "What an attacker gains over guessing: 0 is guessing, 1 is always right. Now has its 95 %"
    " interval for this attack alone."
)
_DRAWN = (
    "Circle: the original. Diamond with line: the erased model, with its 95 % interval. Triangle:"
    " mean of the retrained networks. 0 % is guessing, 100 % is always right."
)


def html(found: Comparison) -> str:
    """One page that loads nothing and runs nothing."""
    figure = drawn(found)
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            title=title(found),
            lead=lead(found),
            tables=tables(found),
            figure=figure,
            panels=[] if figure is None else figure.draw(),
            light=Markup(variables(LIGHT)),
            dark=Markup(variables(DARK)),
            signs=SIGNS,
        )
    )


def markdown(found: Comparison) -> str:
    """The same words and tables without the drawing."""
    lines = [f"# {title(found)}", ""]
    for line in lead(found):
        lines += [plain(line), ""]
    for table in tables(found):
        lines += grid(table)
    return "\n".join([*lines, "Measured facts and their limits, not legal advice.", ""])


def title(found: Comparison) -> str:
    """What the page is about."""
    return f"{len(found.audits)} audits compared"


def lead(found: Comparison) -> list[str]:
    """Whether the audits can be ranked, and why not."""
    if found.ranked:
        return ["All audits answer the same question, so they are ranked.", _PLACES]
    same = all(one.same for one in found.shared if one.aspect in NEEDED)
    why = "though they answer the same question" if same else "since they do not answer the same"
    said = f"The audits are not ranked, {why}" + ("" if same else " question")
    return [joined(said), joined("; ".join(found.refused))]


def tables(found: Comparison) -> list[Table]:
    """All tables, in reading order."""
    return [_outcomes(found), _gains(found), _agreement(found), _identity(found)]


def drawn(found: Comparison) -> Figure | None:
    """The attacker that decides, audit by audit."""
    lines = [
        Line(
            name=literal(f"{one.letter}  {called(one)}"),
            unit="share",
            at={"before": gain.before, "after": gain.now, "reference": gain.retrained},
            low=gain.low,
            high=gain.high,
            n=gain.n,
        )
        for one in found.audits
        if (gain := one.decides) is not None
    ]
    return dumbbells("gains", "What the deciding attacker gains over guessing", _DRAWN, lines)


def called(one: Outcome) -> str:
    """An audit as people call it: the method, else its folder."""
    return one.method or one.name


def gained(value: float | None) -> str:
    """An advantage.

    >>> gained(0.8351), gained(-0.0004), gained(None)
    ('0.84', '0.00', '–')
    """
    return NONE if value is None else f"{round(value, 2) + 0.0:.2f}"


def lost(cost: Cost | None) -> str:
    """Change of the accuracy on retained test samples, in points."""
    return NONE if cost is None else f"{100 * (cost.after - cost.before):+.1f}"


def place(one: Outcome) -> str:
    """Its place; a dash where nothing is ranked."""
    return NONE if one.place is None else str(one.place)


def differing(shared: Shared) -> str:
    """Which audits agree in one respect, by their letters.

    Audits in one group agree: "A, C | B".
    """
    groups: dict[str, list[str]] = {}
    for letter, value in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", shared.values, strict=False):
        groups.setdefault(value, []).append(letter)
    return " | ".join(", ".join(letters) for letters in groups.values())


def agreement(shared: Shared) -> str:
    """One respect in one line, for a terminal."""
    if shared.same:
        return f"{shared.aspect}: the same"
    allowed = "" if shared.aspect in NEEDED else ", which does not matter"
    return f"{shared.aspect}: differ{allowed} ({differing(shared)})"


def numbers(one: Outcome) -> list[str]:
    """What an audit found in six short texts: what the attacker who decides gained before, now and
    in retrained networks; false positives, cost and place.
    """
    gain, wrong = one.decides, one.false_positives
    gains = [NONE] * 3
    if gain is not None:
        gains = [gained(value) for value in (gain.before, gain.now, gain.retrained)]
    return [
        *gains,
        share(None if wrong is None else wrong.false_positives),
        lost(one.cost),
        place(one),
    ]


def share(value: float | None) -> str:
    """A share in percent; a dash where there is none."""
    return NONE if value is None else percent(value).replace(SPACE, "")


def _outcomes(found: Comparison) -> Table:
    columns = [
        "audit",
        "place",
        "verdict",
        "who decides",
        "before",
        "now",
        "retrained",
        "false positives",
        "retained accuracy",
        "levels that hold",
    ]
    return Table(
        "What each audit found. " + _GAIN, columns, [_outcome(one) for one in found.audits]
    )


def _outcome(one: Outcome) -> list[Cell]:
    gain, wrong = one.decides, one.false_positives
    return [
        Cell(f"{one.letter}  {literal(called(one))}", f"{literal(one.name)}, {one.created[:10]}"),
        Cell(place(one)),
        _verdict(one),
        Cell(NONE) if gain is None else Cell(gain.attacker, literal(gain.attack)),
        Cell(NONE if gain is None else gained(gain.before)),
        Cell(NONE) if gain is None else Cell(gained(gain.now), _interval(gain)),
        Cell(NONE if gain is None else gained(gain.retrained)),
        _false_positives(wrong),
        _cost(one.cost),
        Cell(", ".join(one.levels) or "none"),
    ]


def reservation(one: Outcome) -> str:
    """Why the verdict of an audit is not to be relied on; empty where it is."""
    doubts = [
        "" if one.intact else "the file was changed afterwards",
        "" if one.trusted else "a self-test failed",
    ]
    return "; ".join(doubt for doubt in doubts if doubt)


def _verdict(one: Outcome) -> Cell:
    """The code; green or red only where it can be relied on."""
    doubt = reservation(one)
    return Cell(one.verdict, doubt, "open" if doubt else MARK[one.verdict])


def _interval(gain: Gain) -> str:
    return f"[{gain.low:.2f}, {gain.high:.2f}]"


def _false_positives(gain: Gain | None) -> Cell:
    if gain is None or gain.false_positives is None:
        return Cell("not measured")
    return Cell(percent(gain.false_positives), f"of {literal(gain.attack)}")


def _cost(cost: Cost | None) -> Cell:
    if cost is None:
        return Cell("not measured")
    worst = ""
    if cost.worst is not None:
        change = cost.worst.after - cost.worst.before
        worst = f"; worst class {literal(cost.worst.name)}: {100 * change:+.1f}"
    return Cell(
        f"{lost(cost)} points",
        f"{percent(cost.before)} to {percent(cost.after)}, n{SPACE}={SPACE}"
        f"{thousands(cost.n)}{worst}",
    )


def _gains(found: Comparison) -> Table:
    """Every kind of attacker: what he gains now, audit by audit."""
    kinds = list(dict.fromkeys(gain.attacker for one in found.audits for gain in one.gains))
    rows = []
    for kind in kinds:
        row = [Cell(kind)]
        for one in found.audits:
            gain = next((own for own in one.gains if own.attacker == kind), None)
            row.append(Cell(NONE) if gain is None else _gain(gain))
        rows.append(row)
    columns = ["attacker", *(f"{one.letter}  {literal(called(one))}" for one in found.audits)]
    return Table("What every kind of attacker gains: now, and in retrained networks", columns, rows)


def _gain(gain: Gain) -> Cell:
    never = "" if gain.retrained is None else f"retrained {gained(gain.retrained)}, "
    return Cell(
        f"{gained(gain.now)} {_interval(gain)}",
        f"{never}before {gained(gain.before)}: {gain.verdict}",
    )


def _agreement(found: Comparison) -> Table:
    rows = []
    for one in found.shared:
        needed = one.aspect in NEEDED
        mark = "yes" if one.same else "no" if needed else "open"
        rows.append(
            [
                Cell(f"same {one.aspect}?"),
                Cell("yes" if one.same else "no", "" if needed else "may differ", mark),
                Cell(NONE if one.same else differing(one)),
                Cell("; ".join(dict.fromkeys(shortened(value) for value in one.values))),
            ]
        )
    columns = ["asked", "answer", "who agrees with whom", "values"]
    return Table("Do the audits answer the same question?", columns, rows)


def shortened(text: str) -> str:
    """A text whose hashes are cut to what can be compared by eye."""
    return _HASH.sub(r"\1…", literal(text, 2000))


def _identity(found: Comparison) -> Table:
    rows = [
        [
            Cell(one.letter, literal(one.name)),
            Cell(one.created),
            Cell(one.model),
            Cell("yes" if one.intact else "no", "" if one.intact else "changed afterwards"),
        ]
        for one in found.audits
    ]
    columns = ["audit", "date", "sha256 of the erased model's weights", "as it was written"]
    return Table("Which files were compared", columns, rows)
