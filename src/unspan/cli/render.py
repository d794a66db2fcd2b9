"""What commands show: a plan, tables. All text from data is shown literally."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from unspan.audit_record.vocabulary import Expected

if TYPE_CHECKING:
    from unspan.audit_record.record import AuditRecord
    from unspan.benchmark.estimates import Estimated

_ROWS = 8  # of the attack table on a terminal, strongest first


def console(quiet: bool) -> Console:
    """Where people read: standard error, so that --json owns standard output.

    A terminal wraps at words; in a log file a paragraph stays one line.
    """
    return Console(file=sys.stderr, quiet=quiet, highlight=False, soft_wrap=not sys.stderr.isatty())


def facts(out: Console, title: str, rows: Iterable[tuple[str, Any]]) -> None:
    """A titled list of names and values."""
    out.print(Text(title, style="bold"))
    for name, value in rows:
        hanging(out, f"  {name:<12} ", str(value))


def hanging(out: Console, label: str, text: str) -> None:
    """A paragraph after a label; on a terminal its further lines begin below its first word."""
    if out.soft_wrap:
        out.print(Text(label), Text(text), sep="")
        return
    grid = Table.grid(expand=True)
    grid.add_column(width=len(label), no_wrap=True)
    grid.add_column(ratio=1, overflow="fold")
    grid.add_row(Text(label), Text(text))
    out.print(grid)


def table(title: str, wrapped: Sequence[str], numbers: Sequence[str] = ()) -> Table:
    """An empty table that 80 columns hold.

    Args:
        title: above it.
        wrapped: first columns, of texts; they are narrowed when there is no room.
        numbers: columns after them, right-aligned, each in one line.
    """
    made = Table(
        title=Text(title),
        title_justify="left",
        box=SIMPLE_HEAD,
        show_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in wrapped:
        made.add_column(name, overflow="fold")
    for name in numbers:
        made.add_column(name, justify="right", no_wrap=True)
    return made


def cells(out: Console, title: str, rows: Sequence[Estimated]) -> None:
    """Cells of a benchmark with their state and what they should cost."""
    from unspan.benchmark.estimates import cost
    from unspan.system.durations import duration

    shown = table(title, ("method", "pair"), ("seed", "state", "estimate", "cell"))
    for one in rows:
        spent = "?" if one.seconds is None else duration(one.seconds)
        shown.add_row(
            Text(one.row.label),
            Text(one.row.pair),
            str(one.cell.seed),
            one.state,
            "-" if one.state == "done" else spent,
            one.cell.id,
        )
    out.print(shown)
    out.print(cost(rows), markup=False)


def accuracies(
    out: Console, rows: list[dict[str, Any]], names: Sequence[str] | None = None
) -> None:
    """Shares before and after by samples; names of classes where a row is of one."""
    from unspan.artifact.card import change, row_name

    title = "Accuracy before and after, on the same samples"
    shown = table(
        title, ["samples"], ("n", "before", "after", "95 % interval", "change, in points")
    )
    for row in rows:
        said = row_name(row, names)
        shown.add_row(
            Text(said if row["measure"] == "accuracy" else f"{said} ({row['measure']})"),
            str(row["n"]),
            f"{row['before']:.1%}",
            f"{row['after']:.1%}",
            f"{row['low']:.1%} to {row['high']:.1%}",
            change(row).removesuffix(" points"),
        )
    out.print(shown)


def trials(out: Console, rows: list[dict[str, Any]]) -> None:
    """Settings that were tried, the best first."""
    from unspan.erasure.tuning import Rule

    title, kept = "Tuning, on validation samples", "retain"
    if rows[0]["rule"] == Rule.FORGET_ONLY:
        title += " to forget; kept: the best other class is that of the original"
        kept = "kept"
    shown = table(title, ["settings"], ("forget", kept, "HM", "s"))
    for row in sorted(rows, key=lambda one: -one["score"]):
        text = ", ".join(f"{name}={value}" for name, value in row["settings"].items()) or "defaults"
        shares = ("-" if row[name] is None else f"{row[name]:.1%}" for name in ("forget", "kept"))
        shown.add_row(
            Text(f"{text}: {row['error']}" if row["error"] else text),
            *shares,
            "failed" if row["error"] else f"{row['score']:.1%}",
            f"{row['seconds']:.1f}",
        )
    out.print(shown)


def history(out: Console, rows: list[dict[str, Any]]) -> None:
    """What happened from epoch to epoch; accuracies are of at most 2,000 samples."""
    columns = ("epoch", "loss", "forget accuracy", "retain accuracy", "seconds")
    shown = table("Training", (), columns)
    for row in rows:
        shares = (
            "-" if row.get(name) is None else f"{row[name]:.1%}"
            for name in ("forget_accuracy", "retain_accuracy")
        )
        shown.add_row(
            str(row["epoch"]),
            f"{row['loss']:.4g}",
            *shares,
            f"{row['seconds']:.1f}" if "seconds" in row else "-",
        )
    out.print(shown)


def route_table(out: Console, routes: dict[str, str]) -> None:
    """Ways to features and what they see."""
    title = "Ways to take features from the new model (each one was tried)"
    shown = table(title, ("way", "sees"))
    for name, seen in sorted(routes.items()):
        shown.add_row(
            Text(name), Text("ORIGINAL features" if seen == "original" else f"{seen} features")
        )
    shown.add_row(Text("any layer before the eraser"), Text("ORIGINAL features"))
    out.print(shown)


def bullets(out: Console, title: str, lines: Iterable[str]) -> None:
    """A titled list of sentences."""
    lines = list(lines)
    if lines:
        out.print(Text(title, style="bold"))
        for line in lines:
            hanging(out, "  - ", line)


def verdict(out: Console, record: AuditRecord, folder: Path) -> None:
    """The first screen of an audit, in the words of its report."""
    from unspan.report import advice, first, who
    from unspan.report.conclusion import conclusion
    from unspan.report.statements import notes
    from unspan.report.words.first import First

    out.print(Text(conclusion(record), style="bold"))
    out.print(Text(first.meaning(record)))
    out.print(Text(f"{First.CODE.value}: {first.code(record)}"))
    out.print(Text(f"{First.AIM.value}: {first.aim(record)}"))
    out.print(Text(f"{First.EVIDENCE.value}: {first.evidence(record)}"))
    out.print(Text(First.WHO.value, style="bold"))
    rows = who.accesses(record).rows
    width = max((len(row[1].text) for row in rows), default=0)
    for name, answer, now, *_ in rows:
        read = f"{now.text} {now.sub}".strip()
        out.print(Text(f"  {answer.text:<{width}}  {name.text}: {read}"))
    _attacks(out, record)
    bullets(out, First.COST.value, [*advice.cost(record), *advice.goals(record)])
    bullets(out, First.NEXT.value, advice.steps(record))
    bullets(out, First.MAY.value, advice.may_say(record))
    bullets(out, First.MAY_NOT.value, advice.may_not_say(record))
    fakes = [one for one in record.controls if one.expect is Expected.CAUGHT]
    out.print(Text(f"The audit caught {sum(one.ok for one in fakes)} of {len(fakes)} fakes."))
    bullets(out, "Notes", notes(record))
    out.print(Text(f"Written: {folder}/report.html, report.md, audit.json"))


def _attacks(out: Console, record: AuditRecord) -> None:
    """What the strongest attacks read, one line each."""
    title = f"What attacks read of the forgotten samples (reference: {record.reference.kind})"
    shown = table(
        title, ["attack"], ("original", "erased, 95 % interval", "reference", "recovered")
    )
    for one in record.attacks[:_ROWS]:
        form = "{:.1%}" if one.unit == "share" else "{:.3f}"
        low, high = (
            form.format(end).removesuffix("%") for end in (one.erased_low, one.erased_high)
        )
        part = "" if one.rho is None else f"{min(max(one.rho, 0.0), 1.0):.0%} "
        shown.add_row(
            Text(one.attack),
            form.format(one.original),
            f"{form.format(one.erased)} [{low}, {high}]",
            "-" if one.reference is None else form.format(one.reference),
            f"{part}{one.verdict or ''}",
        )
    out.print(shown)
    if len(record.attacks) > _ROWS:
        out.print(Text(f"{len(record.attacks) - _ROWS} more attacks are in the report."))
