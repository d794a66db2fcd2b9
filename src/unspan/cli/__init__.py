"""The command line. Heavy imports happen inside the commands, so that --help is instant."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import textwrap
from typing import Annotated, Any

import typer

from unspan.cli.apply import apply
from unspan.cli.audit import audit
from unspan.cli.bench import bench
from unspan.cli.compare import compare
from unspan.cli.erase import erase
from unspan.cli.export import export
from unspan.cli.index import index
from unspan.cli.inspect import inspect
from unspan.cli.ledger import ledger
from unspan.cli.memory import keep_freed_memory
from unspan.cli.methods import methods
from unspan.cli.recheck import recheck
from unspan.cli.scan import scan
from unspan.cli.sign import sign
from unspan.cli.stats import stats
from unspan.cli.verify import verify
from unspan.cli.version import show_version
from unspan.cli.warned import short_warnings
from unspan.errors import ResourceError, UnspanError, UsageError
from unspan.system.closest import meant
from unspan.system.user_code import place_of

app = typer.Typer(
    name="unspan",
    help=(
        "Erase a class, a person or samples from a trained PyTorch model in one pass, and say what"
        " is left."
    ),
    epilog=(
        "Exit codes: 2 usage, 3 data, 4 model file, 5 unsafe file refused, 6 audit says RETAINED"
        " (--fail-on) or recheck says back, 7 inconclusive, 8 output, 9 resources or interrupt, 10"
        " verify could not check."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


_SHARED = ("erase", "stats", "bench")  # commands whose work several processes share


@app.callback()
def _unspan(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            help="Print the versions of unspan, torch and Python.",
            callback=show_version,
            is_eager=True,
        ),
    ] = False,
) -> None:
    command, processes = context.invoked_subcommand, int(os.environ.get("WORLD_SIZE", "1"))
    if processes > 1 and command not in _SHARED:
        raise UsageError(
            f"unspan {command} works in one process, and torchrun starts {processes}: start it"
            f" without torchrun. {', '.join(_SHARED)} share their work."
        )


for command in (
    erase,
    audit,
    compare,
    verify,
    sign,
    scan,
    recheck,
    apply,
    inspect,
    index,
    export,
    stats,
    methods,
):
    app.command()(command)
app.add_typer(
    bench,
    name="bench",
    help="Run the tables and figures of the paper, or your own grid of methods.",
)
app.add_typer(
    ledger,
    name="ledger",
    help="Keep a list of deletions and audits in which nothing can be changed unnoticed.",
)


_INTERRUPTED = 130  # what the argument parser returns when it swallowed a KeyboardInterrupt


def _interrupted(_signal: int, _frame: Any) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Entry point of the `unspan` command: typed errors become one line and an exit code."""
    try:
        signal.signal(signal.SIGTERM, _interrupted)
        keep_freed_memory()
        with short_warnings(_say):
            code = app(standalone_mode=False)
    except Exception as error:
        sys.exit(_explain(error))
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        _say("Interrupted before the end.")
        sys.exit(ResourceError.exit_code)
    sys.exit(code if isinstance(code, int) else 0)


def _explain(error: Exception) -> int:
    """Print what went wrong in one line, and return the exit code.

    With `--json` the same stands on standard output, for programs.
    """
    if "--debug" in sys.argv:
        import traceback

        traceback.print_exc()
    if type(error).__name__ in ("Abort", "Exit"):
        return int(getattr(error, "exit_code", ResourceError.exit_code))
    if type(error).__name__ == "NoArgsIsHelpError":  # the help stands there already
        return UsageError.exit_code
    message, code = _told(error)
    _say(f"Error: {message}")
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}))
    return code


def _say(message: str) -> None:
    """Print to people: wrapped at words on a terminal, one line in a log file."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        message = textwrap.fill(message, width, break_long_words=False, break_on_hyphens=False)
    print(message, file=sys.stderr)


def _told(error: Exception) -> tuple[str, int]:
    """What went wrong in one line, and the exit code."""
    if isinstance(error, UnspanError):
        return _one_line(error), error.exit_code
    if type(error).__name__ == "MissingParameter":
        return f"Missing {', '.join(_missing(error))}. See unspan --help.", 2
    if type(error).__name__ == "NoSuchOption":
        return f"{_unknown_option(error)} See unspan --help.", 2
    if hasattr(error, "format_message"):  # a usage error of the argument parser
        return f"{error.format_message()} See unspan --help.", 2
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return (
            f"Out of memory ({_one_line(error)}); use a smaller --batch-size.",
            ResourceError.exit_code,
        )
    place = place_of(error)
    if place:
        return (
            f"your code failed in {place}: {type(error).__name__}: {_one_line(error)} Repair it;"
            " --debug shows the traceback.",
            UsageError.exit_code,
        )
    unexpected = f"unexpected {type(error).__name__}: {_one_line(error)}"
    return f"{unexpected} Run again with --debug for the traceback, and report it.", 1


def _unknown_option(error: Any) -> str:
    """Which option the command does not have, and those it may be."""
    known = [name for one in error.ctx.command.params for name in one.opts if name[:2] == "--"]
    return f"No such option: {error.option_name}.{meant(error.option_name, known)}"


_UNLESS = {"--data": "--outputs"}  # an option that is needed where there is no other of a command


def _missing(error: Any) -> list[str]:
    """All arguments and options that a command needs and was not given; the parser stops at one."""
    given = {word.partition("=")[0] for word in sys.argv}
    params = error.ctx.command.params
    known = {option for one in params for option in one.opts}
    spared = {option for option, other in _UNLESS.items() if other not in known or other in given}
    needed = [one for one in params if one.required or set(one.opts) & (set(_UNLESS) - spared)]
    arguments = [one for one in needed if one.param_type_name == "argument"]
    options = [one for one in needed if one.param_type_name == "option"]
    left = arguments[arguments.index(error.param) :] if error.param in arguments else []
    return [
        *(f"argument {one.name.upper()}" for one in left),
        *(f"option {one.opts[0]}" for one in options if not given & set(one.opts)),
    ]


# arguments of Python that messages name, and how the command line takes them
_ARGUMENT = re.compile(r"\b(feature_layer|pool|form)=(?:'([^']*)'|(?=[.,; )]))")


def _one_line(error: Exception) -> str:
    """The message in one line, with options of the command in place of arguments of Python."""
    return _ARGUMENT.sub(_as_option, " ".join(str(error).split()))


def _as_option(argument: re.Match[str]) -> str:
    name, value = argument.groups()
    return f"--{name.replace('_', '-')}{f' {value}' if value else ''}"
