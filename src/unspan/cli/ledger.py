"""`unspan ledger`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unspan.cli import options as option
from unspan.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from unspan.ledger.chain import Entry

ToVerify = Annotated[
    Path, typer.Argument(metavar="LEDGER", help="File of the ledger, or a JSON export of one.")
]
LedgerFile = Annotated[Path, typer.Argument(metavar="LEDGER", help="File of the ledger.")]
Folder = Annotated[
    Path | None,
    typer.Argument(help="Folder written by unspan erase or unspan audit.", metavar="FOLDER"),
]
Who = Annotated[
    str | None,
    typer.Option(
        help="Who asked: a name, an address, a number. Only a keyed commitment is kept. With - it"
        " is read from standard input, and is in no list of processes."
    ),
]
Note = Annotated[
    str | None, typer.Option(help="Text that everybody who gets the ledger reads: no names.")
]
KeepUntil = Annotated[
    str, typer.Option(help="Date, as 2030-12-31, after which purge empties the entry.")
]
OfWhom = Annotated[
    str | None,
    typer.Option("--who", help="Only entries of whom it names; - reads it from standard input."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the entries as JSON.")]
Head = Annotated[
    str | None,
    typer.Option(help="Hash of an entry that you noted earlier; it must still be there."),
]
Out = Annotated[Path, typer.Option(help="File to write: NAME.csv or NAME.json.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an earlier export.")]
Entries = Annotated[
    list[int] | None,
    typer.Option("--entry", help="Empty this entry before its time; repeat for several."),
]
Private = Annotated[
    list[Path] | None,
    typer.Option(
        "--private",
        help="Remove the private folder of this deletion, FOLDER.private, with its key; repeat for"
        " several.",
    ),
]
Key = Annotated[bool, typer.Option("--key", help="Remove the key: nobody can test then who asked.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")]

_BROKEN = 1

ledger = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@ledger.callback()
def _ledger() -> None:
    """Keep a list of deletions and audits in which nothing can be changed unnoticed."""


@ledger.command()
def add(
    file: LedgerFile,
    folder: Folder = None,
    who: Who = None,
    note: Note = None,
    keep_until: KeepUntil = "",
    debug: option.Debug = False,
) -> None:
    """Add a deletion, an audit or a note. What was added is on disk when the command ends.

    unspan ledger add ledger.db erased/ --who - --keep-until 2030-12-31
    """
    from unspan.cli import render
    from unspan.ledger import recording
    from unspan.ledger.words import sentence, shown

    entry = recording.add(file, folder, who=_named(who), note=note, keep_until=keep_until)
    facts = [("entry", f"{entry.number}: {entry.kind}, {shown(sentence(entry))}")]
    render.facts(render.console(quiet=False), "Added", [*facts, ("head", entry.hash)])


@ledger.command()
def show(
    file: LedgerFile,
    who: OfWhom = None,
    as_json: AsJson = False,
    debug: option.Debug = False,
) -> None:
    """List the entries, and the head: the hash of the last one. Note it elsewhere."""
    from unspan.cli import render
    from unspan.ledger.book import read
    from unspan.ledger.chain import head_of
    from unspan.ledger.who import asked_by, key_file, read_key
    from unspan.ledger.words import counted

    book = read(file)
    entries = list(book.entries)
    said = _named(who)
    if said is not None:
        entries = asked_by(entries, read_key(key_file(file)), said)
    if as_json:
        print(json.dumps([asdict(one) for one in entries], indent=2))
    else:
        _list(entries)
        title = counted(len(book.entries), "entry")
        render.facts(render.console(quiet=False), title, [("head", head_of(book.entries))])
    if problems := book.problems():
        render.bullets(render.console(quiet=False), "The ledger does not hold", problems)
        raise typer.Exit(_BROKEN)


@ledger.command()
def verify(file: ToVerify, head: Head = None, debug: option.Debug = False) -> None:
    """Check every entry, the chain, the file, and the key where it is beside it; or a JSON export.

    Entries that were removed from the end are found only with --head. Exit codes: 0 all holds, 1
    something does not.
    """
    from unspan.cli import render
    from unspan.ledger.book import read
    from unspan.ledger.chain import head_of
    from unspan.ledger.export import read_export
    from unspan.ledger.who import key_problems
    from unspan.ledger.words import counted

    book = read_export(file) if file.suffix == ".json" else read(file)
    out = render.console(quiet=False)
    if problems := [*book.problems(head), *key_problems(file, book.entries)]:
        render.bullets(out, f"{file} does not hold", problems)
        raise typer.Exit(_BROKEN)
    facts = [("checked", counted(len(book.entries), "entry")), ("head", head_of(book.entries))]
    if head is None:
        facts.append(("not checked", "whether entries were removed from the end: give --head"))
    render.facts(out, f"{file} holds", facts)


@ledger.command()
def export(
    file: LedgerFile,
    out: Out,
    overwrite: Overwrite = False,
    debug: option.Debug = False,
) -> None:
    """Write all entries to a table (CSV) or to JSON, for an auditor or an authority."""
    from unspan.cli import render
    from unspan.ledger import export as exporting

    count = exporting.export(file, out, overwrite=overwrite)
    render.facts(render.console(quiet=False), "Done", [("written", f"{out}: {count} entries")])


@ledger.command()
def purge(
    file: LedgerFile,
    entry: Entries = None,
    private: Private = None,
    key: Key = False,
    dry_run: DryRun = False,
    debug: option.Debug = False,
) -> None:
    """Empty entries whose time is over, and remove keys and private folders. The chain stays
    whole, and an entry says what went.

    Files are overwritten before they are removed. SSDs, snapshots and backups may still hold them.
    """
    from unspan.cli import render
    from unspan.ledger import purge as purging

    done = purging.purge(file, entries=entry or (), private=private or (), key=key, dry_run=dry_run)
    facts = [
        ("entries", ", ".join(map(str, done.entries)) or "none"),
        *(("private", f"{seal}: {count} files") for seal, count in done.private),
        *([] if done.key is None else [("key", done.key)]),
        *([] if done.entry is None else [("recorded", f"in entry {done.entry.number}")]),
    ]
    render.facts(render.console(quiet=False), "Would go" if dry_run else "Gone", facts)


def _named(who: str | None) -> str | None:
    """Who was named, from standard input where it says so."""
    if who != "-":
        return who
    line = sys.stdin.readline().strip()
    if not line:
        raise UsageError("--who - reads who asked from standard input, which is empty.")
    return line


def _list(entries: list[Entry]) -> None:
    """Print entries as a table on standard output."""
    from rich.console import Console
    from rich.text import Text

    from unspan.cli import render
    from unspan.ledger.words import moment, sentence, shown, who

    table = render.table("", ("entry", "time", "kind", "says", "who", "keep until"))
    for one in entries:
        row = (
            str(one.number),
            moment(one.time),
            one.kind.value,
            sentence(one),
            who(one),
            one.keep_until,
        )
        table.add_row(*(Text(shown(cell)) for cell in row))
    out: Console = Console(highlight=False)
    out.print(table)
