"""What commands show: a plan, tables. All text from data is shown literally."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from unspan.audit_record.vocabulary import Expected

if TYPE_CHECKING:
    from unspan.audit_record.record import AuditRecord

_ROWS = 8  # of the attack table on a terminal, strongest first


def console(quiet: bool) -> Console:
    """Where people read: standard error, so that --json owns standard output."""
    return Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=True)


def facts(out: Console, title: str, rows: Iterable[tuple[str, Any]]) -> None:
    """A titled list of names and values."""
    out.print(Text(title, style="bold"))
    for name, value in rows:
        out.print(Text(f"  {name:<12} "), Text(str(value)), sep="")


def cells(out: Console, title: str, rows: list[tuple[Any, Any, str, float | None]]) -> None:
    """Cells of a benchmark with their state and what they should cost."""
    from unspan.system.durations import duration

    table = Table(title=Text(title), title_justify="left")
    for name in ("method", "pair", "seed", "state", "estimate", "cell"):
        table.add_column(
            name,
            justify="right" if name in ("seed", "estimate") else "left",
            no_wrap=name == "cell",
        )
    for row, cell, state, seconds in rows:
        table.add_row(
            Text(row.label),
            Text(row.pair),
            str(cell.seed),
            state,
            "-" if state == "done" else "?" if seconds is None else duration(seconds),
            cell.id,
        )
    out.print(table)
    left = [seconds for _, _, state, seconds in rows if state != "done"]
    known = [seconds for seconds in left if seconds is not None]
    cost = [f"about {duration(sum(known))} in one process"] * bool(known) + [
        f"for {len(left) - len(known)} the cost is not known before a first cell of their pair ran"
        " here"
    ] * (len(known) < len(left))
    out.print(
        f"{len(left)} of {len(rows)} cells to compute{': ' if left else ''}{'; '.join(cost)}.",
        markup=False,
    )


def accuracies(
    out: Console, rows: list[dict[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Shares before and after by samples; names of classes where a row is of one."""
    from unspan.artifact.card import change, row_name

    table = Table(title="Accuracy before and after, on the same samples", title_justify="left")
    for name in ("samples", "n", "before", "after", "95 % interval", "change"):
        table.add_column(name, justify="left" if name == "samples" else "right")
    for row in rows:
        said = row_name(row, names)
        table.add_row(
            Text(said if row["measure"] == "accuracy" else f"{said} ({row['measure']})"),
            str(row["n"]),
            f"{row['before']:.1%}",
            f"{row['after']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            change(row),
        )
    out.print(table)


def trials(out: Console, rows: list[dict[str, Any]]) -> None:
    """Settings that were tried, the best first."""
    table = Table(title="Tuning, on validation samples", title_justify="left")
    for name in ("settings", "forget", "retain", "HM", "seconds"):
        table.add_column(name, justify="left" if name == "settings" else "right")
    for row in sorted(rows, key=lambda one: -one["score"]):
        text = ", ".join(f"{name}={value}" for name, value in row["settings"].items()) or "defaults"
        shown = ("-" if row[name] is None else f"{row[name]:.1%}" for name in ("forget", "retain"))
        table.add_row(
            Text(text),
            *shown,
            Text(row["error"][:40]) if row["error"] else f"{row['score']:.1%}",
            f"{row['seconds']:.1f}",
        )
    out.print(table)


def history(out: Console, rows: list[dict[str, Any]]) -> None:
    """What happened from epoch to epoch; accuracies are of at most 2,000 samples."""
    table = Table(title="Training", title_justify="left")
    for name in ("epoch", "loss", "forget accuracy", "retain accuracy", "seconds"):
        table.add_column(name, justify="right")
    for row in rows:
        shares = (
            "-" if row.get(name) is None else f"{row[name]:.1%}"
            for name in ("forget_accuracy", "retain_accuracy")
        )
        table.add_row(
            str(row["epoch"]),
            f"{row['loss']:.4f}",
            *shares,
            f"{row['seconds']:.1f}" if "seconds" in row else "-",
        )
    out.print(table)


def route_table(out: Console, routes: dict[str, str]) -> None:
    """Ways to features and what they see."""
    table = Table(
        title="Ways to take features from the new model (each one was tried)", title_justify="left"
    )
    table.add_column("way")
    table.add_column("sees")
    for name, seen in sorted(routes.items()):
        table.add_row(
            Text(name), Text("ORIGINAL features" if seen == "original" else f"{seen} features")
        )
    table.add_row(Text("any layer before the eraser"), Text("ORIGINAL features"))
    out.print(table)


def bullets(out: Console, title: str, lines: Iterable[str]) -> None:
    """A titled list of sentences."""
    lines = list(lines)
    if lines:
        out.print(Text(title, style="bold"))
        for line in lines:
            out.print(Text(f"  - {line}"))


def verdict(out: Console, record: AuditRecord, folder: Path) -> None:
    """The first screen of an audit, in the words of its report."""
    from unspan.report import advice, first, who
    from unspan.report.conclusion import conclusion
    from unspan.report.words.first import First

    out.print(Text(conclusion(record), style="bold"))
    out.print(Text(first.meaning(record)))
    out.print(Text(f"{First.CODE.value}: {first.code(record)}"))
    out.print(Text(f"{First.AIM.value}: {first.aim(record)}"))
    out.print(Text(f"{First.EVIDENCE.value}: {first.evidence(record)}"))
    out.print(Text(First.WHO.value, style="bold"))
    for row in who.accesses(record).rows:
        name, answer, now = row[:3]
        read = f"{now.text} {now.sub}".strip()
        out.print(Text(f"  {answer.text:<12} {name.text}: {read}"))
    _attacks(out, record)
    bullets(out, First.COST.value, [*advice.cost(record), *advice.goals(record)])
    bullets(out, First.NEXT.value, advice.steps(record))
    bullets(out, First.MAY.value, advice.may_say(record))
    bullets(out, First.MAY_NOT.value, advice.may_not_say(record))
    fakes = [one for one in record.controls if one.expect is Expected.CAUGHT]
    out.print(Text(f"The audit caught {sum(one.ok for one in fakes)} of {len(fakes)} fakes."))
    bullets(out, "Notes", record.notes)
    out.print(Text(f"Written: {folder}/report.html, report.md, audit.json"))


def _attacks(out: Console, record: AuditRecord) -> None:
    """What the strongest attacks read, one line each."""
    table = Table(
        title=f"What attacks read of the forgotten samples (reference: {record.reference.kind})",
        title_justify="left",
    )
    for name in ("attack", "original", "erased, 95 % interval", "reference", "recovered"):
        table.add_column(name, justify="left" if name == "attack" else "right")
    for one in record.attacks[:_ROWS]:
        form = "{:.1%}" if one.unit == "share" else "{:.3f}"
        low, high = (
            form.format(end).removesuffix("%") for end in (one.erased_low, one.erased_high)
        )
        part = "" if one.rho is None else f"{one.rho:.0%} "
        table.add_row(
            Text(one.attack),
            form.format(one.original),
            f"{form.format(one.erased)} [{low}, {high}]",
            "-" if one.reference is None else form.format(one.reference),
            f"{part}{one.verdict or ''}",
        )
    out.print(table)
    if len(record.attacks) > _ROWS:
        out.print(Text(f"{len(record.attacks) - _ROWS} more attacks are in the report."))
