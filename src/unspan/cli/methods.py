"""`unspan methods`."""

from __future__ import annotations

from typing import Annotated

import typer


def methods(
    name: Annotated[str | None, typer.Argument(help="Show the card of one method.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
) -> None:
    """List the methods, or print the card of one: idea, formula, needs, cost, known failure,
    source.
    """
    from unspan.methods import by_name, listed, registered

    if name is not None:
        kind = by_name(name)
        print(kind.card().text)
        rows = listed(kind)
        if rows:
            print("\nSettings (--set NAME=VALUE) and their defaults:")
            for setting, default in rows:
                print(f"  {setting:<16} {default}")
        return
    for method in registered():
        card = method.card()
        print(f"{card.name:<14} {card.summary}  (needs: {', '.join(sorted(card.needs))})")
