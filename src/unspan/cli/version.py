"""`unspan --version`."""

from __future__ import annotations

import platform

import typer


def show_version(wanted: bool) -> None:
    """Print the versions that a bug report needs, and stop. Torch is not imported for it."""
    if not wanted:
        return
    from importlib.metadata import version

    from unspan import __version__

    print(f"unspan {__version__}, torch {version('torch')}, Python {platform.python_version()}")
    raise typer.Exit
