"""The methods by the situation they are for, as the command line lists and completes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unspan.methods import Method


@dataclass(frozen=True)
class Section:
    """A part of the list: what somebody wants to do, and the methods for it.

    Attributes:
        title: the situation in a few words.
        advice: one sentence on what to choose.
        methods: names, the best choice first.
        default: the method that `unspan erase` takes here when none is named.
    """

    title: str
    advice: str
    methods: tuple[str, ...]
    default: str | None = None


SECTIONS = (
    Section(
        "A class must go, and there are data to keep",
        "Take bake where users can ask for altered copies of an image.",
        ("resample", "bake", "leace"),
        default="resample",
    ),
    Section(
        "Only the samples to forget are left",
        "All but esc and pour need their labels. pour-p is a negative control.",
        ("esc", "esc-t", "boundary", "lau", "neggrad", "random-labels", "pour-d", "pour-p"),
        default="esc",
    ),
    Section(
        "A person or a group must go",
        "Take redraw in an embedding model with data of other people to keep.",
        ("redraw", "esc", "resample"),
        default="redraw",
    ),
    Section(
        "Single samples, or a person inside classes, must go",
        "Only retrain is sure. With --holdout you see what is remembered at all.",
        ("neggrad-plus", "retrain"),
        default="neggrad-plus",
    ),
    Section(
        "Published baselines that train or edit weights, with data to keep",
        "Compare with them; `--tune 8` chooses their settings.",
        (
            "finetune",
            "cf-k",
            "eu-k",
            "l1-sparse",
            "salun",
            "scrub",
            "bad-teaching",
            "fisher",
            "svd",
            "ssd",
            "lfssd",
            "dlfd",
            "damp",
            "cmf",
        ),
    ),
)

NAMES = tuple(dict.fromkeys(name for one in SECTIONS for name in one.methods))


def available() -> tuple[type[Method], ...]:
    """The method classes that `--method` can name. The command line reads them here only."""
    from unspan.methods import registered

    return registered()


def sections(names: Iterable[str]) -> Iterator[Section]:
    """The sections, and a last one with the methods of `names` that stand in none."""
    yield from SECTIONS
    others = tuple(name for name in names if name not in NAMES)
    if others:
        yield Section("Other methods", "Their cards say what they are for.", others)


def summary(method: type[Method]) -> str:
    """The first sentence of the card, without the name where it only repeats it."""
    text = method.card().summary
    first, _, rest = text.partition(": ")
    return rest if first.lower().replace(" ", "-") == method.name else text


def complete_method(incomplete: str) -> list[str]:
    """Names that begin with what was typed, for completion in a shell; imports no torch."""
    others = (one.name for one in entry_points(group="unspan.methods"))
    return [name for name in dict.fromkeys([*NAMES, *others]) if name.startswith(incomplete)]
