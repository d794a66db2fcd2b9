"""What a command says when it is interrupted: what was kept, and how to go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from unspan.errors import ResourceError


@contextmanager
def interruptible(kept: Callable[[], str]) -> Iterator[None]:
    """Turn an interrupt into a typed error that says what is on disk.

    Args:
        kept: called at the interrupt; whole sentences.

    Raises:
        ResourceError: the command was interrupted.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise ResourceError(f"Interrupted. {kept()}") from None
