"""`unspan bench`."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import Any

import typer
from typer.core import TyperGroup

from unspan.cli import bench_options as option
from unspan.cli.bench_export import export_spec
from unspan.cli.bench_run import run_specs
from unspan.errors import UsageError
from unspan.system.closest import closest


class _Spec(TyperGroup):
    """`unspan bench SPEC` means `unspan bench run SPEC`, also with its options first."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        return super().parse_args(
            ctx, ["run", *args] if first.startswith("-") and first not in ("-h", "--help") else args
        )

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in self.commands:
            return super().resolve_command(ctx, args)
        _refuse_mistyped(args[0], list(self.commands))
        return super().resolve_command(ctx, ["run", *args])


def _refuse_mistyped(word: str, commands: list[str]) -> None:
    """Refuse what is neither a spec nor a file but looks like a command."""
    from unspan.benchmark.spec import shipped

    meant = closest(word, [*commands, *shipped()])
    if meant and meant[0] in commands and not Path(word).is_file():
        raise UsageError(f"No such command or spec '{word}'. Did you mean {' or '.join(meant)}?")


bench = typer.Typer(
    cls=_Spec,
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@bench.callback()
def _bench() -> None:
    """Run a table or figure of the paper, or your own grid: `unspan bench table1a --budget smoke`,
    then `unspan bench report`.
    """


@bench.command()
def run(
    spec: option.Specs,
    out: option.Out = Path("bench-results"),
    budget: option.Budget = "paper",
    data_root: option.DataRoot = None,
    original: option.Original = None,
    retrained: option.Retrained = None,
    method: option.Methods = None,
    dry_run: option.DryRun = False,
    retry_failed: option.RetryFailed = False,
    device: option.Device = None,
    batch_size: option.BatchSize = 250,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Compute the cells of specs that are not there yet; stop and start again as you like."""
    run_specs(dict(locals()))


@bench.command()
def report(
    spec: option.SpecsToShow = None,
    out: option.Out = Path("bench-results"),
    quiet: option.Quiet = False,
    debug: option.Debug = False,
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
    console(quiet).print(
        f"README.md, leaderboard.html, tables and figures are in {files[0].parent}.",
        markup=False,
    )


@bench.command()
def export(
    spec: option.OneSpec,
    to: option.To,
    out: option.Out = Path("bench-results"),
    budget: option.Budget = "paper",
    data_root: option.DataRoot = None,
    original: option.Original = None,
    retrained: option.Retrained = None,
    method: option.Methods = None,
    device: option.Device = None,
    batch_size: option.BatchSize = 250,
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Write split, outputs and membership signals of the models of a spec, for LeakPro, Privacy
    Meter and own programs.
    """
    export_spec(dict(locals()))


@bench.command()
def pack(
    out: option.Out = Path("bench-results"),
    quiet: option.Quiet = False,
    debug: option.Debug = False,
) -> None:
    """Write each table with its finished cells to one file, tables/NAME.BUDGET.jsonl, to be kept
    or committed. Reports are drawn from it as from the single cells.
    """
    from unspan.benchmark.packed import FOLDER
    from unspan.benchmark.store import FOLDERS, Store
    from unspan.cli.render import console
    from unspan.system.output_paths import check_shared_folder

    check_shared_folder(out, FOLDERS, what="a folder of results")
    files = Store(out).pack()
    if not files:
        raise UsageError(f"{out} holds no benchmark. Run unspan bench SPEC --out {out} first.")
    folder = out / FOLDER
    names = [file.relative_to(folder).as_posix() for file in files]
    console(quiet).print(f"Written in {folder}: {', '.join(names)}", markup=False)


@bench.command("list")
def list_(debug: option.Debug = False) -> None:
    """List the specs that come with unspan."""
    from unspan.benchmark.spec import load, shipped

    specs = shipped()
    width = max(map(len, specs))
    for name, path in specs.items():
        start = f"{name:<{width}} "
        print(fill(load(path).title, 80, initial_indent=start, subsequent_indent=" " * len(start)))
