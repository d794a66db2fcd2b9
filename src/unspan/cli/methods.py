"""`unspan methods`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the card of one method.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods, or print the card of one: idea, formula, needs, cost, known failure,
    source.
    """
    from unspan.methods import METHODS, by_name, listed

    if name is not None:
        kind = by_name(name)
        print((sys.modules[kind.__module__].__doc__ or "").strip())
        rows = listed(kind)
        if rows:
            print("\nSettings (--set NAME=VALUE) and their defaults:")
            for setting, default in rows:
                print(f"  {setting:<16} {default}")
        return
    for method in METHODS:
        first = (sys.modules[method.__module__].__doc__ or "").strip().split("\n\n")[0]
        first = " ".join(first.split())
        print(f"{method.name:<14} {first}  (needs: {', '.join(sorted(method().needs))})")
