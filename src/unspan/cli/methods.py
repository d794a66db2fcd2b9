"""`unspan methods`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the card of one method.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods, or print the card of one: idea, formula, needs, cost, known failure, source."""
    from unspan.methods import METHODS, by_name

    if name is not None:
        print((sys.modules[by_name(name).__module__].__doc__ or "").strip())
        return
    for method in METHODS:
        first = (sys.modules[method.__module__].__doc__ or "").strip().splitlines()[0]
        print(f"{method.name:<8} {first}  (needs: {', '.join(sorted(method.needs))})")
