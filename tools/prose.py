"""Words per sentence in Markdown files, without code, tables, headings and link addresses."""

import re
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# Nothing of these is prose: fenced code, HTML comments, tags, table rows, headings, rulers.
_BLOCKS = re.compile(r"```.*?```|<!--.*?-->|^---\n.*?^---\n", re.DOTALL | re.MULTILINE)
_LINES = re.compile(r"^\s*(\||#|:::|---|=+$|\[[^\]]+\]:|!\[|\{[%{]).*$", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
_TAG = re.compile(r"<[^>]+>")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+", re.MULTILINE)
_END = re.compile(r"(?<=[.!?])[)\"'`*]*\s+(?=[\"'*(\[]*[A-Z0-9`])")
_ABBREVIATION = re.compile(r"\b(e\.g|i\.e|cf|vs|etc|al|Fig|Eq|Sec|No)\.")


@dataclass(frozen=True)
class Prose:
    """Counts over the sentences of one or more files."""

    sentences: int
    median: float
    longest: int
    over_25: int


def sentences(markdown: str) -> list[str]:
    """The sentences of the running text and of list items, in order."""
    text = _LINES.sub("", _BLOCKS.sub("", markdown))
    text = _TAG.sub("", _LINK.sub(r"\1", text))
    text = _ABBREVIATION.sub(r"\1", text)
    text = _ITEM.sub("\n\n", text)
    found = []
    for paragraph in re.split(r"\n\s*\n", text):
        for sentence in _END.split(" ".join(paragraph.split())):
            if re.search(r"[A-Za-z]{2}", sentence):
                found.append(sentence)
    return found


def measure(paths: Iterable[Path]) -> Prose:
    """Sentence lengths in words over all `paths`."""
    lengths = []
    for path in paths:
        for sentence in sentences(path.read_text("utf-8")):
            lengths.append(len(sentence.split()))
    if not lengths:
        return Prose(0, 0.0, 0, 0)
    long = sum(length > 25 for length in lengths)
    return Prose(len(lengths), statistics.median(lengths), max(lengths), long)
