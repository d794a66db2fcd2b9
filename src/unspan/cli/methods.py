"""`unspan methods`."""

from __future__ import annotations

import re
import textwrap
from typing import Annotated

import typer

from unspan.cli import catalogue
from unspan.cli.catalogue import Section, complete_method

_WIDTH = 80
_INDENT = 17  # of the summaries; a longer name has a line of its own


def methods(
    name: Annotated[
        str | None,
        typer.Argument(help="Show the card of this method.", autocompletion=complete_method),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods by situation, or print the card and the settings of one.

    Examples: unspan methods; unspan methods salun
    """
    if name is not None:
        _show_card(name)
        return
    by_name = {method.name: method for method in catalogue.available()}
    for section in catalogue.sections(by_name):
        print(section.title)
        print(f"  {section.advice}")
        for one in section.methods:
            print(_line(one, catalogue.summary(by_name[one]), section))
        print()
    print("unspan methods NAME prints the card and the settings of a method.")


def _line(name: str, text: str, section: Section) -> str:
    """A name and its summary, at most 80 columns wide where the name is not wider."""
    marked = f"{text} [default]" if name == section.default else text
    margin = " " * _INDENT
    summary = textwrap.fill(
        marked, _WIDTH, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False
    )
    label = f"  {name}"
    if len(label) + 2 > _INDENT:
        return f"{label}\n{summary}"
    return label.ljust(_INDENT) + summary[_INDENT:]


def _wrapped(card: str) -> str:
    """A card at 80 columns: its paragraphs, fields and numbered steps keep a line of their own."""
    paragraphs = [re.split(r"\n(?=[A-Z]\w*: |\d\. )", one) for one in card.split("\n\n")]
    return "\n\n".join("\n".join(map(_filled, blocks)) for blocks in paragraphs)


def _filled(block: str) -> str:
    return textwrap.fill(
        " ".join(block.split()),
        _WIDTH,
        subsequent_indent="   " if block[:1].isdigit() else "",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _show_card(name: str) -> None:
    from unspan.methods import by_name, listed

    method = by_name(name)
    print(_wrapped(method.card().text))
    rows = listed(method)
    if rows:
        print("\nSettings (--set NAME=VALUE) and their defaults:")
        widest = max(len(setting) for setting, _ in rows)
        for setting, default in rows:
            print(f"  {setting:<{widest}}  {default}")
