"""How often each word of an audit is said of models of which the truth is known.

Digits, class 3. Subjects: the original, the original with an edited head, ESC, LEACE, resample,
bake, a network retrained without the class by another seed, and random weights. Attacks are fitted
once for each model. Then test samples are drawn anew, and retrained networks at random from those
that are not the subject; each time the verdict rule is asked. One JSON for each number of
references and of test samples, and a table of all.

    python experiments/operating_characteristics.py --draws 1000
"""

from __future__ import annotations

import argparse
import json
import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

import unspan
from examples.digits import FORGOTTEN, data, tensors, trained
from unspan.artifact.deletion import record_of
from unspan.audit_record.vocabulary import Verdict
from unspan.auditing.controls import head_edit
from unspan.auditing.levels import chance_bound
from unspan.auditing.reference import random_weights
from unspan.auditing.suite import class_attacks
from unspan.auditing.verdict_rule import overall
from unspan.extraction import find_feature_layer, read
from unspan.methods import ESC, LEACE, Bake, Method, Resample
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import Reading

SEEDS = range(1, 6)  # of retrained networks
METHODS: dict[str, Method] = {
    "ESC": ESC(rank=1),
    "LEACE": LEACE(),
    "resample": Resample(),
    "bake": Bake(),
}
REFERENCES = (1, 3)
SIZES = (20, None)  # forgotten test samples; None takes all
RETRAINED = "retrained, another seed"
WORDS = [str(word) for word in Verdict]


def outputs(net: nn.Module, images: Tensor, labels: Tensor) -> Outputs:
    """Features and scores, the forgotten class first."""
    record = record_of(net)
    layer = find_feature_layer(net, images[:2])[0] if record is None else record.feature_layer
    order = torch.argsort((labels != FORGOTTEN).int(), stable=True)
    with torch.no_grad():
        features, scores = read(net, layer, images[order])
    labels = labels[order]
    return Outputs(
        features=features.float(), logits=scores, labels=labels, forget=labels == FORGOTTEN
    )


def readings() -> dict[str, list[list[Reading]]]:
    """What every attack reads of each subject; several networks where seeds differ."""
    splits = data()
    known, tested = (tensors(splits[name]) for name in ("train", "test"))
    rest = known[1] != FORGOTTEN

    def attacked(net: nn.Module) -> list[Reading]:
        return class_attacks(outputs(net, *known), outputs(net, *tested), 0, lambda stage: None)

    original = trained(*known)
    request = unspan.Request.by_class(splits["train"], FORGOTTEN)
    edited = [head_edit(outputs(original, *part), [FORGOTTEN]) for part in (known, tested)]
    found = {
        "untouched": [attacked(original)],
        "head edited": [class_attacks(edited[0], edited[1], 0, lambda stage: None)],
    }
    for name, method in METHODS.items():
        found[name] = [attacked(unspan.erase(original, request, method, measure=False).model)]
        print(f"{name}: attacked", flush=True)
    found[RETRAINED] = [
        attacked(trained(known[0][rest], known[1][rest], seed=seed)) for seed in SEEDS
    ]
    found["random weights"] = [attacked(random_weights(original, 1))]
    return found


def drawn(
    models: Sequence[list[Reading]], size: int | None, generator: torch.Generator
) -> list[list[Reading]]:
    """The readings of several models on test samples drawn anew, the same in all of them."""
    rows: dict[tuple[str, int], Tensor] = {}

    def positions(group: str, n: int, count: int) -> Tensor:
        if (group, n) not in rows:
            rows[group, n] = torch.randint(n, (count,), generator=generator)
        return rows[group, n]

    def one(reading: Reading) -> Reading:
        n = len(reading.forget)
        forget = reading.forget[positions("forget", n, size or n)]
        alarms, rest = (
            None if part is None else part[positions("rest", len(part), len(part))]
            for part in (reading.alarms, reading.rest)
        )
        if rest is not None:  # to first order an AUC moves by the sum of what both groups move it
            forget = (forget + rest.mean() - reading.value).clamp(0, 1)
        return replace(reading, forget=forget, alarms=alarms, rest=rest)

    return [[one(reading) for reading in found] for found in models]


def words(
    found: dict[str, list[list[Reading]]], name: str, references: int, size: int | None, draws: int
) -> Iterator[Verdict]:
    """The verdict on a subject, draw by draw."""
    original, networks = found["untouched"][0], found[RETRAINED]
    for seed in range(draws):
        generator = torch.Generator().manual_seed(seed)
        order = torch.randperm(len(networks), generator=generator).tolist()
        subject = found[name][0]
        if name == RETRAINED:
            subject = networks[order.pop()]
        compared = [networks[place] for place in order[:references]]
        before, after, *never = drawn([original, subject, *compared], size, generator)
        each = list(zip(*never, strict=True))
        yield overall(before, after, each, retrained=True, chance=chance_bound(10)).verdict


def measured(
    found: dict[str, list[list[Reading]]], references: int, size: int | None, draws: int
) -> dict[str, object]:
    """How often each word is said of each subject."""
    shares = {}
    for name in found:
        counted = Counter(str(word) for word in words(found, name, references, size, draws))
        shares[name] = {word: counted[word] / draws for word in WORDS}
        print(f"{references} references, {size or 'all'}: {name} {dict(counted)}", flush=True)
    samples = len(found["untouched"][0][0].forget) if size is None else size
    return {
        "data": "digits",
        "references": references,
        "samples": samples,
        "draws": draws,
        "shares": shares,
    }


def table(rows: Sequence[dict[str, object]]) -> str:
    """All results as Markdown, in percent of the draws."""
    lines = [
        f"| references | n | subject | {' | '.join(WORDS)} |",
        "|---:|---:|---|" + "---:|" * len(WORDS),
    ]
    for row in rows:
        for name, shares in row["shares"].items():  # type: ignore[attr-defined]
            cells = " | ".join(f"{100 * shares[word]:.1f}" for word in WORDS)
            lines.append(f"| {row['references']} | {row['samples']} | {name} | {cells} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Attack the models once, then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=Path("results/operating"))
    parser.add_argument("--cache", type=Path, default=Path("build/operating-digits.pickle"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.cache.is_file():
        given.cache.parent.mkdir(parents=True, exist_ok=True)
        given.cache.write_bytes(pickle.dumps(readings()))
    found = pickle.loads(given.cache.read_bytes())  # noqa: S301 - written by this script
    rows = []
    for references in REFERENCES:
        for size in SIZES:
            row = measured(found, references, size, given.draws)
            name = f"digits-{references}-references-{row['samples']}.json"
            (given.out / name).write_text(json.dumps(row, indent=1) + "\n", "utf-8")
            rows.append(row)
    (given.out.parent / "operating.md").write_text(table(rows), "utf-8")


if __name__ == "__main__":
    main()
