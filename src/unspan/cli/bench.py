"""`unspan bench`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from unspan.errors import DataError, InconclusiveError, ResourceError, UnspanError


class _Spec(TyperGroup):
    """`unspan bench SPEC` means `unspan bench run SPEC`, also with its options first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        return super().parse_args(
            ctx, ["run", *args] if first.startswith("-") and first not in ("-h", "--help") else args
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else ["run", *args])


bench = typer.Typer(
    cls=_Spec,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
_OUT = Annotated[
    Path,
    typer.Option(
        "--out", "-o", help="Folder of results; several processes and machines may share it."
    ),
]
_DEBUG = Annotated[bool, typer.Option("--debug", help="Show tracebacks.")]


@bench.callback()
def _bench() -> None:
    """Run a table or figure of the paper, or your own grid: `unspan bench table1a --budget smoke`,
    then `unspan bench report`.
    """


@bench.command()
def run(
    spec: Annotated[
        list[str],
        typer.Argument(
            help=(
                "Names of specs that come with unspan (unspan bench list), or TOML files; all for"
                " every one of them."
            )
        ),
    ],
    out: _OUT = Path("bench-results"),
    budget: Annotated[
        str,
        typer.Option(
            help="smoke (digits, minutes), cpu (reduced, hours) or paper (the paper's settings)."
        ),
    ] = "paper",
    data_root: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a folder for each dataset; else $UNSPAN_DATA, else the hub."
        ),
    ] = None,
    original: Annotated[
        Path | None,
        typer.Option(
            help="Weights (safetensors) of the original model; else it is trained and kept."
        ),
    ] = None,
    retrained: Annotated[
        Path | None,
        typer.Option(
            help=(
                "Weights of the model retrained without the forget data; else it is trained and"
                " kept."
            )
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="List the cells with their state and an estimate of the cost, and stop.",
        ),
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Compute cells again that ended with an error.")
    ] = False,
    device: Annotated[
        str | None,
        typer.Option(help="cpu, cuda, cuda:1, mps; under torchrun each process takes its own GPU."),
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a forward pass.")] = 250,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    debug: _DEBUG = False,
) -> None:
    """Compute the cells of specs that are not there yet; stop and start again as you like."""
    from unspan.benchmark.cell import Bench
    from unspan.benchmark.networks import digest
    from unspan.benchmark.runner import estimate, own_cells, record, state, work
    from unspan.benchmark.spec import check_given, find, load, shipped
    from unspan.benchmark.store import FOLDERS, Store
    from unspan.cli.progress import line
    from unspan.cli.render import cells, console
    from unspan.run import Run
    from unspan.system.output_paths import check_shared_folder

    screen = console(quiet)
    given = {
        name: path
        for name, path in (("original", original), ("retrain", retrained))
        if path is not None
    }
    files = [Path(name) for name in spec if Path(name).is_file()]
    folders = [data_root] if data_root is not None else []
    check_shared_folder(
        out, FOLDERS, what="a folder of results", inputs=[*files, *folders, *given.values()]
    )
    hashes: dict[str, str | None] = {name: digest(path) for name, path in given.items()}
    specs = [load(find(name), budget, hashes) for name in (shipped() if spec == ["all"] else spec)]
    check_given(specs, hashes)
    store, own = Store(out), own_cells()
    failed, skipped = 0, []
    for one in specs:
        if dry_run:
            cells(screen, one.title, estimate(one, store))
            continue
        screen.print(
            f"{one.title}, budget {budget}: {len(one.cells())} cells in {out}", markup=False
        )
        with line(screen) as report:
            runner = Bench(
                store,
                Run(device=device or own, batch_size=batch_size, progress=report),
                data_root,
                given,
            )
            try:
                runner.check([cell for cell in one.cells() if state(store, cell) == "open"])
                record(
                    store,
                    one,
                    " ".join(
                        ["unspan", *(arg.rstrip("/").rpartition("/")[2] for arg in sys.argv[1:])]
                    ),
                )  # names, not this machine's folders
                tally = work(
                    one, runner, lambda text: screen.print(text, markup=False), again=retry_failed
                )
            except UnspanError as error:
                if len(specs) == 1:
                    raise
                skipped.append(one.name)
                screen.print(f"Skipped: {error}", markup=False)
                continue
            except KeyboardInterrupt:
                raise ResourceError(
                    f"Stopped. Finished cells are kept in {out}; the same command goes on from"
                    " there."
                ) from None
        failed += tally.failed
        others = (
            f", {tally.elsewhere} are with other processes (start again when these are done, should"
            " they have died)"
            if tally.elsewhere
            else ""
        )
        screen.print(
            f"{tally.done} of {tally.total} cells are done, {tally.failed} failed{others}.",
            markup=False,
        )
    if dry_run:
        return
    screen.print(f"Next: unspan bench report --out {out}", markup=False)
    if skipped:
        raise DataError(
            f"{len(skipped)} of {len(specs)} specs were skipped: {', '.join(skipped)}. The reasons"
            " stand above."
        )
    if failed:
        raise InconclusiveError(
            f"{failed} cells failed; their messages stand in {out}/cells/*.json and in the report."
            " Mend the cause and run with --retry-failed."
        )


@bench.command()
def report(
    spec: Annotated[
        list[str] | None, typer.Argument(help="Specs to show; all that were run by default.")
    ] = None,
    out: _OUT = Path("bench-results"),
    debug: _DEBUG = False,
) -> None:
    """Draw every table (Markdown, CSV, LaTeX), figure (SVG, PDF) and the leaderboard from the cells
    in a folder.
    """
    from unspan.benchmark.report import report as write
    from unspan.benchmark.store import FOLDERS
    from unspan.cli.render import console
    from unspan.system.output_paths import check_shared_folder

    check_shared_folder(out, FOLDERS, what="a folder of results")
    files = write(out, spec or ())
    console(False).print(
        f"{len(files)} files in {files[0].parent}: README.md, leaderboard.html, tables and"
        " figures.",
        markup=False,
    )


@bench.command()
def pack(out: _OUT = Path("bench-results"), debug: _DEBUG = False) -> None:
    """Write each table with its finished cells to one file, tables/NAME.BUDGET.jsonl, to be kept
    or committed. Reports are drawn from it as from the single cells.
    """
    from unspan.benchmark.store import FOLDERS, Store
    from unspan.cli.render import console
    from unspan.errors import UsageError
    from unspan.system.output_paths import check_shared_folder

    check_shared_folder(out, FOLDERS, what="a folder of results")
    files = Store(out).pack()
    if not files:
        raise UsageError(f"{out} holds no benchmark. Run unspan bench SPEC --out {out} first.")
    console(False).print(f"{len(files)} files in {files[0].parent}.", markup=False)


@bench.command("list")
def list_(debug: _DEBUG = False) -> None:
    """List the specs that come with unspan."""
    from unspan.benchmark.spec import load, shipped

    for name, path in shipped().items():
        print(f"{name:<14} {load(path).title}")
