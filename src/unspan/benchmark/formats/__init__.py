"""Datasets in the files their authors publish. Each reader returns its splits, or None when the
folder is not in its format.

Pickles are never read: of CIFAR the binary version is taken, not the Python one.
"""

from unspan.benchmark.formats.arrays import cifar, idx
from unspan.benchmark.formats.images import lacuna, mucac, mufac, raf_db, tiny_imagenet
from unspan.benchmark.formats.read import Read, Reader, tables

__all__ = [
    "Read",
    "Reader",
    "cifar",
    "idx",
    "lacuna",
    "mucac",
    "mufac",
    "raf_db",
    "tables",
    "tiny_imagenet",
]
