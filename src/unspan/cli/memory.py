"""Freed memory stays with the process."""

from __future__ import annotations

import ctypes
import os
import platform

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
_SET_BY_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD")


def keep_freed_memory() -> bool:
    """Ask the C library not to give freed memory back to the kernel; whether it was asked.

    Every layer of every batch makes a tensor and frees it. Given back, its pages are cleared by the
    kernel when the next layer asks for them, which takes up to a third of the time of a pass. Only
    glibc is asked, and not where the user has chosen another setting or allocator.
    """
    if platform.libc_ver()[0] != "glibc" or any(name in os.environ for name in _SET_BY_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    largest = any(mallopt(_MMAP, size) for size in (2**30, 2**25))  # older versions take 32 MB
    return bool(mallopt(_TRIM, 2**31 - 1)) and largest
