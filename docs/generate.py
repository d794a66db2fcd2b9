"""Pages that are made from the code: one a method, and one of the command line.

python docs/generate.py FOLDER
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import benchmark_page
import method_rows
import reproduce_page
import results_page

from unspan.methods import METHODS, listed

HEADINGS = ("Idea", "Steps", "Formula", "Needs", "Cost", "Typical", "Fails", "Source", "Deviates")


def write(folder: Path) -> None:
    """Write every page anew."""
    (folder / "methods").mkdir(parents=True, exist_ok=True)
    for method in METHODS:
        (folder / "methods" / f"{method.name}.md").write_text(method_page(method), "utf-8")
    names = "\n".join(f"{method.name}" for method in METHODS)
    (folder / "methods" / "index.md").write_text(
        "# Methods\n\nOne page a method, made from the card at the top of its file, with what was"
        " measured. Side by side they stand in the [benchmark](../benchmark.md).\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{names}\n```\n",
        "utf-8",
    )
    (folder / "cli.md").write_text(command_page(), "utf-8")
    (folder / "results.md").write_text(results_page.page(), "utf-8")
    (folder / "first-picture.md").write_text(method_rows.first_picture(), "utf-8")
    (folder / "benchmark.md").write_text(benchmark_page.page(), "utf-8")
    (folder / "reproduce.md").write_text(reproduce_page.page(), "utf-8")


def method_page(method: Any) -> str:
    """The card of a method as a page: its sections, what was measured, and its settings."""
    module = sys.modules[method.__module__]
    card = inspect.getdoc(module) or ""
    title, _, body = card.partition("\n\n")
    lines = [f"# {method.name}", "", " ".join(title.split()), ""]
    for heading, text in sections(body):
        lines += [f"**{heading}.** {text}", ""]
    lines += [method_rows.section(method.name)]
    lines += ["## Settings", "", "| setting | default |", "|---|---|"]
    lines += [f"| `{name}` | `{value!r}` |" for name, value in listed(method)]
    lines += ["", f"Source file: `src/{module.__name__.replace('.', '/')}.py`", ""]
    return "\n".join(lines)


def sections(body: str) -> list[tuple[str, str]]:
    """Heading and text of every part of a card, in its order."""
    parts = re.split(rf"(?:^|(?<=\s))({'|'.join(HEADINGS)})(?: \([a-z-]+\))?: ", body)
    found = [("Note", parts[0].strip())] if parts[0].strip() else []
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        found.append((heading, _capital(text.strip())))
    return found


def _capital(text: str) -> str:
    """The text with a capital, unless it begins with a name or a formula."""
    first = text.partition(" ")[0]
    word = len(first) > 1 and first.isalpha() and first.islower()
    return text[:1].upper() + text[1:] if word else text


def command_page() -> str:
    """The help of every command, as a terminal of 80 columns shows it."""
    import typer.main
    from typer.testing import CliRunner

    from unspan.cli import app

    runner = CliRunner(env={"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"})
    group: Any = typer.main.get_command(app)
    lines = ["# Command line", "", "What `--help` prints.", ""]
    for name in sorted(group.commands):
        shown = runner.invoke(app, [name, "--help"]).output.strip("\n")
        lines += [f"## unspan {name}", "", "```text", shown, "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
