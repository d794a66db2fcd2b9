"""What `unspan bench run` does: read the specs, compute what is missing, say how it went."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import (
    DataError,
    InconclusiveError,
    ResourceError,
    UnspanError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unspan.benchmark.grid import Spec
    from unspan.benchmark.runner import Tally


def run_specs(o: dict[str, Any]) -> None:
    """Compute the cells of the specs, or list them for `--dry-run`.

    Args:
        o: values of the options by name.

    Raises:
        DataError: some of several specs were skipped; a single one raises what it met.
        InconclusiveError: cells failed.
        ResourceError: it was interrupted.
        UsageError: no folder of data.
    """
    from unspan.benchmark.estimates import estimate
    from unspan.benchmark.preflight import refuse_mistakes
    from unspan.benchmark.runner import own_cells
    from unspan.benchmark.store import Store
    from unspan.cli.render import cells, console

    screen = console(o["quiet"])
    if o["quiet"]:
        silence()
    root = o["data_root"]
    if root is not None and not root.is_dir():
        raise UsageError(f"--data-root {root}: there is no such folder.")
    given = given_weights(o)
    specs, store = specs_of(o, given), Store(o["out"])
    device = o["device"] or own_cells()
    failed, skipped = 0, []
    for text in already_there(specs, o):
        screen.print(text, markup=False)
    for one in specs:
        if o["dry_run"]:
            sought = refuse_mistakes(one, store, o["data_root"])
            cells(screen, one.title, estimate(one, store))
            for text in sought:
                screen.print(text, markup=False)
            continue
        try:
            failed += _computed(o, one, store, given, device, screen).failed
        except UnspanError as error:
            if len(specs) == 1:
                raise
            skipped.append(one.name)
            screen.print(f"Skipped: {error}", markup=False)
        except KeyboardInterrupt:
            raise ResourceError(
                f"Stopped. Finished cells are kept in {o['out']}; the same command goes on from"
                " there."
            ) from None
    if o["dry_run"]:
        return
    screen.print(f"Next: unspan bench report --out {o['out']}", markup=False)
    _refuse_incomplete(o["out"], failed, skipped, len(specs))


def silence() -> None:
    """Keep libraries from printing warnings, log lines and bars; errors are still said."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


def given_weights(o: dict[str, Any]) -> dict[str, list[Path]]:
    """The files of --original and --retrained, by row."""
    files = (("original", o["original"]), ("retrain", o["retrained"]))
    return {name: path for name, path in files if path}


def specs_of(o: dict[str, Any], given: dict[str, list[Path]]) -> list[Spec]:
    """The specs that were named, after the folder of results was checked."""
    from unspan.benchmark.data import refuse_missing_root
    from unspan.benchmark.networks import digest
    from unspan.benchmark.spec import check_given, find, load, shipped
    from unspan.benchmark.store import FOLDERS
    from unspan.system.output_paths import check_shared_folder

    refuse_missing_root(o["data_root"])
    files = [Path(name) for name in o["spec"] if Path(name).is_file()]
    folders = [o["data_root"]] if o["data_root"] is not None else []
    check_shared_folder(
        o["out"],
        FOLDERS,
        what="a folder of results",
        inputs=[*files, *folders, *chain(*given.values())],
    )
    hashes = {name: [digest(path) for path in paths] for name, paths in given.items()}
    names = shipped() if o["spec"] == ["all"] else o["spec"]
    specs = [load(find(name), o["budget"], hashes, o["method"] or ()) for name in names]
    check_given(specs, hashes)
    return specs


def already_there(specs: Sequence[Spec], o: dict[str, Any]) -> list[str]:
    """Which methods of --method get no row of their own, in sentences, since there is one."""
    from unspan.benchmark.third_party import short_name

    told = []
    for spec in specs:
        added = {short_name(row.method) for row in spec.rows if row.added}
        told += [
            f"{spec.name} has a row of {short_name(name)} already; --method adds none."
            for name in dict.fromkeys(o["method"] or ())
            if short_name(name) not in added
        ]
    return told


def _computed(
    o: dict[str, Any],
    spec: Spec,
    store: Any,
    given: dict[str, list[Path]],
    device: str | None,
    screen: Any,
) -> Tally:
    """Compute what is missing of one spec, and print how it went."""
    from unspan.benchmark.cell import Bench
    from unspan.benchmark.estimates import cost, estimate, state
    from unspan.benchmark.runner import record, work
    from unspan.cli.progress import line
    from unspan.run import Run

    def tell(text: str) -> None:
        screen.print(text, markup=False)

    tell(f"{spec.title}, budget {o['budget']}: {len(spec.cells())} cells in {o['out']}")
    with line(screen) as report:
        run = Run(device=device, batch_size=o["batch_size"], progress=report)
        bench = Bench(store, run, o["data_root"], given)
        to_run = [cell for cell in spec.cells() if state(store, cell) in ("open", "pictures")]
        bench.check(to_run, spec.places())
        record(store, spec, _command())
        tell(cost(estimate(spec, store)))
        tally = work(spec, bench, tell, again=o["retry_failed"])
    tell(_outcome(tally))
    return tally


def _command() -> str:
    """The command as it was typed, with names instead of this machine's folders."""
    return " ".join(["unspan", *map(_without_folder, sys.argv[1:])])


def _without_folder(argument: str) -> str:
    """An argument without the folders of this machine; what names code stays such a name."""
    from unspan.benchmark.third_party import short_name
    from unspan.system.user_code import PREFIX

    if argument.startswith(PREFIX):
        return short_name(argument)
    return argument.rstrip("/").rpartition("/")[2]


def _outcome(tally: Tally) -> str:
    others = ""
    if tally.elsewhere:
        others = (
            f", {tally.elsewhere} are with other processes (start again when these are done, should"
            " they have died)"
        )
    return f"{tally.done} of {tally.total} cells are done, {tally.failed} failed{others}."


def _refuse_incomplete(out: Path, failed: int, skipped: list[str], count: int) -> None:
    if skipped:
        raise DataError(
            f"{len(skipped)} of {count} specs were skipped: {', '.join(skipped)}. The reasons"
            " stand above."
        )
    if failed:
        cells = "1 cell" if failed == 1 else f"{failed} cells"
        raise InconclusiveError(
            f"{cells} failed; the messages stand in {out}/cells/*.json and in the report."
            " Mend the cause and run with --retry-failed."
        )
