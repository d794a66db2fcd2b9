"""`unspan compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unspan.cli import options as option

if TYPE_CHECKING:
    from rich.console import Console

    from unspan.report.comparison import Comparison

Audits = Annotated[
    list[Path],
    typer.Argument(help="Two or more folders of audits, or their audit.json.", metavar="AUDIT..."),
]
Out = Annotated[
    Path | None, typer.Option(help="Folder to write: compare.html, compare.md, compare.json.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace an earlier comparison in --out.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print compare.json on standard output.")]


_KEY = (
    "before, now, retrained: what the attacker who decides gains over guessing, 0 to 1. wrong:"
    " retained samples that an attacker takes for forgotten ones. cost: change of accuracy on"
    " retained test samples, in points."
)


def compare(
    audits: Audits,
    out: Out = None,
    overwrite: Overwrite = False,
    quiet: option.Quiet = False,
    as_json: AsJson = False,
    debug: option.Debug = False,
) -> None:
    """Put audits side by side: before and after, over time, or several methods.

    Audits are ranked where they answer the same question; else it says what differs. Such as:

    unspan compare audit-esc/ audit-resample/ --out compared/
    """
    from unspan.cli.render import console
    from unspan.report.comparison_files import check_target, of_files, save, to_json
    from unspan.system.locks import writing

    if out is None:
        found = of_files(audits)
    else:
        check_target(out, overwrite, audits)
        with writing(out):
            check_target(out, overwrite, audits)  # written until the lock was free
            found = of_files(audits)
            save(found, out)
    _show(console(quiet), found)
    if out is not None:
        console(quiet).print(f"Written: {out}/compare.html, compare.md, compare.json", markup=False)
    if as_json:
        print(to_json(found), end="")


def _show(out: Console, found: Comparison) -> None:
    """The table of outcomes, who decides, and what differs."""
    from rich.text import Text

    from unspan.cli import render
    from unspan.report.comparison_page import (
        agreement,
        called,
        lead,
        numbers,
        reservation,
        title,
    )

    columns = ("before", "now", "retrained", "wrong", "cost", "place")
    table = render.table(title(found), ("audit", "verdict"), columns)
    for one in found.audits:
        doubt = reservation(one)
        table.add_row(
            Text(f"{one.letter} {called(one)}, {one.created[:10]}"),
            Text(f"{one.verdict} ({doubt})" if doubt else one.verdict),
            *numbers(one),
        )
    out.print(table)
    out.print(Text(_KEY))
    who = [f"{one.letter}: {one.decides.attacker}" for one in found.audits if one.decides]
    render.bullets(out, "Who decides", who)
    render.bullets(out, "Same question?", [agreement(one) for one in found.shared])
    render.bullets(out, "Order", lead(found))
