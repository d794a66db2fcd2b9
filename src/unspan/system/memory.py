"""Refuse work that the memory of this machine cannot hold, before it is begun."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path

from unspan.errors import ResourceError

_GIB = 2**30
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, as malloc.h numbers them
_WIDE = 2**28  # bytes of the two float64 `[d, d]` sums from which features count as wide: 256 MiB


def is_wide(dim: int) -> bool:
    """Whether `[d, d]` matrices are so large that they are avoided where that is possible."""
    return 2 * 8 * dim**2 > _WIDE


def require_square(what: str, dim: int, matrices: int) -> None:
    """Refuse `matrices` float64 matrices `[d, d]` that do not fit (ResourceError).

    Nothing is looked up for ordinary d.
    """
    left = available() if is_wide(dim) else None
    needed = matrices * 8 * dim**2
    if left is not None and needed > left:
        raise ResourceError(
            f"{what} needs about {needed / _GIB:.1f} GiB for {dim} features, and {left / _GIB:.1f}"
            " GiB are free. Use method esc with fewer forget samples than features, or a layer with"
            " fewer features (feature_layer='NAME')."
        )


def available() -> int | None:
    """Bytes that this process may still take; None where the system does not say."""
    found = [one for one in (_free(), _allowed()) if one is not None]
    return min(found) if found else None


def _free() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    words = fields.get("MemAvailable", "").split()
    return int(words[0]) * 1024 if words else None


def _allowed() -> int | None:
    """What the limit of the address space leaves, None without a limit."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text("utf-8").split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        return None
    return None if limit == resource.RLIM_INFINITY else max(0, limit - used)


def keep_freed_memory() -> None:
    """Let the C library keep memory that was freed, up to 2 GiB, instead of giving it back.

    Every batch frees its activations, and the next one needs as many: pages that went back to the
    system are zeroed and mapped again each time, which takes a third of a forward pass. For a
    process of our own, such as a command; nothing happens where the library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    library = ctypes.CDLL(None)
    library.mallopt(_MMAP_THRESHOLD, 32 * 2**20)  # the most that it takes
    library.mallopt(_TRIM_THRESHOLD, 2**31 - 1)
