"""The page of results: what attackers read after each erasure, from the files of `results/`."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from experiment_values import attack_values, survivors
from shown import ROOT, shown, unbroken

from unspan.metrics.score import share_interval

NETWORKS = {
    "cifar10-allcnn": "CIFAR-10, All-CNN, deer",
    "cifar10-allcnn-retrained": "CIFAR-10, All-CNN retrained without deer",
    "fashion-mnist-allcnn": "Fashion-MNIST, All-CNN, coat",
    "cifar10-resnet": "CIFAR-10, ResNet, deer",
    "fashion-mnist-groups": "Fashion-MNIST, All-CNN that knows groups of clothes, coat",
}
FIRST = ("original", "esc", "leace", "resample")  # rows that readers look for
ASKED = ("one answer", "two views", "two views, log-probabilities", "half contrast, one answer")
HEAD = """# Results

Every table is made from `results/` when this site is built. One class of a JPEG copy of
CIFAR-10, or of Fashion-MNIST, is forgotten.
Test images: n = 1,000 of the class and 9,000 others. After ±: deviation over three keys or seeds.
In brackets: 95 % interval of a single value. A classifier that guesses recognises 10 %.

## Words

| column | meaning |
|---|---|
| own answer | test images of the class that the model itself still names |
| others | test images of other classes that it names rightly |
| strongest | the best of linear probes, neighbours, an MLP and trees, on images of the class |
| AUC | forgotten against others by features, the best attack; 0.5 is guessing |
| ten | a prototype of ten images of the class recognises so many |
| mirrored | AUC of the distance between the answers to an image and its mirror image |

Attackers have the features and labels of all training images, unless said otherwise."""
TWO_VIEWS = """An MLP on 20,000 training images recognises so many of the class. It gets one
answer to an image, answers to the image and its mirror image, or one answer at half contrast."""
BAKE = """## bake

All-CNN; attackers read the last layer. The strongest is the best of a linear probe, neighbours
and an MLP. Rows that name noise or other images: these took the place of retained images."""
LEAK = """## What a file of statistics tells about its samples

CIFAR-10, All-CNN, mean over ten classes. AUC of members against other training images of the same
class, for an attacker who has their features. From `results/statistics-leak.json`
(`python experiments/statistics_leak.py`)."""
COLLAPSE = """## What forgetting single images costs

CIFAR-10, All-CNN, 1,000 random training images. Further left is better forgotten, higher is more
accurate on 9,000 test images. Each method ran at several strengths. From `results/collapse.json`
(`python experiments/collapse.py`).

![Test accuracy against the forgetting score, by method.](../../results/collapse.svg)"""


OPERATING = """## How often each word of an audit is said

Models of which the truth is known, in percent of the draws of the test samples and of the retrained
networks. References are drawn from the networks that are not the subject; n is the number of
forgotten test samples. Data: digits (class 3), CIFAR-10 (JPEG copy, All-CNN, deer), and a request
of 200 single digits. The first table holds the goals against what was reached with most references
and test samples, and its 95 % interval over the draws. From `results/operating/`
(`python experiments/operating_characteristics.py`)."""

MEMBERSHIP = """## Which single samples were in the training data

Digits, 200 random samples; small networks. AUC of each attack on networks that learned the samples
and on retrained ones, by the number of other networks of each kind that the attacker has. 0.5 is
guessing. Swapped networks were trained on other samples in place of the 200.

Below: the score of the 2023 unlearning challenge. 1 means that no rule tells a network from
retrained ones by any sample. The first row is what retraining itself gets. KLoM is the divergence
of the margins of a sample, in nats: the mean, the 95th percentile, and what equal networks would
get. From `results/membership.json` (`python experiments/membership.py`)."""

DAMP_CMF = """## DAMP and CMF on digits

Percent of the test images that are named right, mean over the ten classes, each erased once; small
networks, one seed. DAMP hides a class from the head, and how well depends on how the network was
trained. A probe reads it as before.

CMF gives features of length 1. A probe of 20 epochs reads less of those than of the raw ones, which
a probe trained to the end does not. From `results/damp-cmf.json`
(`python experiments/damp_cmf.py`)."""


def page() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for network, title in NETWORKS.items():
        parts += [f"## {title}", _network(network)]
        asked = _asked(network)
        parts += [TWO_VIEWS, asked] if asked else []
    parts.append("From `results/survive/` (`python experiments/survive.py`).")
    parts.append(BAKE)
    for file, title in (("bake", "CIFAR-10, deer"), ("bake-fashion-mnist", "Fashion-MNIST, coat")):
        parts += [f"### {title}", _baked(ROOT / "results" / f"{file}.json")]
    parts.append("From `results/bake*.json` (`python experiments/bake.py`).")
    parts += [OPERATING, (ROOT / "results" / "operating.md").read_text("utf-8")]
    parts += [MEMBERSHIP, (ROOT / "results" / "membership.md").read_text("utf-8")]
    parts += [DAMP_CMF, (ROOT / "results" / "damp-cmf.md").read_text("utf-8")]
    parts += [LEAK, _leak(), COLLAPSE]
    return "\n\n".join(parts) + "\n"


def _network(network: str) -> str:
    rows = []
    for name, cells in _ordered(network):
        probes = [100 * max(attack_values(cell["probes"])) for cell in cells]
        few = [100 * cell["few-shot"]["few-shot prototype, m=10"]["value"] for cell in cells]
        rows.append(
            [
                name,
                _share(probes),
                _plain([max(attack_values(cell["AUC, features"])) for cell in cells]),
                _share(few),
                _plain([cell["instability"]["mirrored"]["value"] for cell in cells]),
                _share([100 * cell["own forget"] for cell in cells]),
                _share([100 * cell["remaining"] for cell in cells], 9000),
            ]
        )
    return _table(["", "strongest", "AUC", "ten", "mirrored", "own answer", "others"], rows)


def _asked(network: str) -> str:
    rows = []
    for name, cells in _ordered(network):
        if all("asked" in cell for cell in cells):
            read = [
                [100 * cell["asked"][one]["forget"]["value"] for cell in cells] for one in ASKED
            ]
            rows.append([name, *map(_share, read)])
    return _table(["", *ASKED], rows) if rows else ""


def _ordered(network: str) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """Rows of a network, those of FIRST before the others, under the words of today."""
    found = survivors(network)
    for row in sorted(found, key=lambda row: (FIRST.index(row) if row in FIRST else 9, row)):
        yield row.replace("drawn 0", "noise fraction 0"), found[row]


def _baked(file: Path) -> str:
    table = json.loads(file.read_text("utf-8"))
    seeds = [key for key in table if key.startswith("baked, seed")]
    others = [key for key in table if key not in (*seeds, "original", "retrained")]
    rows = []
    for name, keys in (
        ("original", ["original"]),
        ("retrained", ["retrained"]),
        ("bake", seeds),
        *((key.replace("baked", "bake"), [key]) for key in others),
    ):
        found = [table[key]["measured"] for key in keys]
        last = [list(one["layers"].values())[-1] for one in found]
        rows.append(
            [
                name,
                _share([100 * max(attack_values(layer)) for layer in last]),
                _share([100 * one["few-shot"]["few-shot prototype, m=10"] for one in found]),
                _share([100 * one["forget"]["value"] for one in found]),
                _share([100 * one["remaining, all"]["value"] for one in found], 9000),
            ]
        )
    return _table(["", "strongest", "ten", "own answer", "others"], rows)


def _leak() -> str:
    found = json.loads((ROOT / "results" / "statistics-leak.json").read_text("utf-8"))["rows"]
    keys = ["AUC, mean", "AUC, moments", "AUC, quantiles", "AUC, file"]
    rows = [[f"{one['samples a class']:,}", *(f"{one[key]:.2f}" for key in keys)] for one in found]
    return _table(["samples a class", "means", "moments", "quantiles", "whole file"], rows)


def _share(percents: Sequence[float], n: int = 1000) -> str:
    """Mean and deviation of several, or one with its exact interval."""
    if len(percents) > 1:
        return unbroken(shown(tuple(percents)))
    low, high = share_interval(percents[0] * n / 100, n)
    interval = unbroken(f"({100 * low:.1f} to {100 * high:.1f})")
    return f"{unbroken(shown(tuple(percents)))} <br>{interval}"


def _plain(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return unbroken(f"{statistics.mean(values):.2f}{spread}")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])
