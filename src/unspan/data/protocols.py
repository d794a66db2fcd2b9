"""Kinds of data and models that other people's classes can be, told by what they offer."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class MapStyle(Protocol):
    """Data with a length and samples by position, as torch calls a map-style dataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


@runtime_checkable
class ArrayLike(Protocol):
    """An array, tensor or number of any library, which can be had as plain Python values."""

    def tolist(self) -> Any: ...


@runtime_checkable
class Collates(Protocol):
    """A transform that also makes a batch of its samples, as `TextPreprocess` does."""

    def collate(self, samples: Any, /) -> Any: ...
