"""What each part of resample earns: attackers with and without it, on real features.

All-CNN on CIFAR-10 without deer, and a ResNet-20 on CIFAR-100 without the five aquatic mammals
(weights of the shared checkpoints). Part by part, resample is fitted to 20,000 training samples
without it or with less of it. Attackers hold what the erased network answers to 10,000 of these,
with true labels. `two views` gets the answers to an image and to its mirror image.

`--split training` asks training samples that nobody held; it is what parts are chosen by. `--split
test` reports what was chosen. A row that is in the JSON file is kept.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _ablation_features import NETWORKS, Part, head_of, parts
from _ablation_variants import Variant, fitted, numbers
from _attacks import by_place, trees
from torch import Tensor

from unspan.artifact.receipt import versions
from unspan.erasers import Eraser
from unspan.methods import ESC, EraserMethod, FitContext, Redraw, Resample
from unspan.metrics.linear import linear_probe
from unspan.metrics.mlp import fit_mlp
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import share_reading
from unspan.metrics.score import share_interval

VARIANTS: dict[str, Variant] = {
    "all of it": Variant(),
    "one cluster a class": Variant(clusters=1),
    "one map for all clusters": Variant(one_map=True),
    "clusters by the key alone": Variant(by_key_alone=True),
    "missed samples not counted": Variant(missed_count=False),
    "no noise": Variant(noise="none"),
    "noise fraction 0.2": Variant(noise_fraction=0.2),
    "256 noise vectors": Variant(draws=256),
    "64 noise vectors": Variant(draws=64),
    "one codebook": Variant(codebooks=1),
    "two codebooks": Variant(codebooks=2),
    "noise by cosines": Variant(noise="cosines"),
    "no transport": Variant(transport=False),
    "no quantiles": Variant(quantiles=False),
    "no covariance correction": Variant(correction=False),
    "correction without bounds": Variant(bounds=False),
    "features not scaled": Variant(scaled=False),
}
OTHERS: dict[str, EraserMethod] = {"ESC": ESC(), "head only": Resample(statistics="head")}
GATES: dict[str, EraserMethod] = {  # the request as samples of no class
    "samples: ESC": ESC(),
    "samples: fitted gate, 1 %": Resample(),
    "samples: fitted gate, 5 %": Resample(false_positives=0.05),
    "embeddings: resample, 1 %": Resample(),
    "embeddings: redraw, 1 %": Redraw(false_positives=0.01),
}
KS = (1, 5, 20)


@dataclass(frozen=True)
class Case:
    """One network: what fits, what is asked, its head and the request."""

    fit: Part
    asked: Part
    head: tuple[Tensor, Tensor]
    classes: tuple[int, ...]

    def forget(self, labels: Tensor) -> Tensor:
        """Which samples `[n]` are of the request."""
        return torch.isin(labels, torch.tensor(self.classes))


def case_of(name: str, split: str, folder: Path) -> Case:
    """The samples of a network, by `split`."""
    found = parts(name, folder)
    return Case(found["fit"], found[split], head_of(name), NETWORKS[name].classes)


def eraser_of(label: str, case: Case, seed: int) -> Eraser | None:
    """The eraser of a row."""
    if label == "original":
        return None
    plain, gone = case.fit.plain, case.forget(case.fit.labels)
    if label in VARIANTS:
        return fitted(VARIANTS[label], plain[gone], plain[~gone], case.head, case.classes, seed)
    head = None if "embeddings" in label else case.head
    context = FitContext.from_tensors(
        plain[gone],
        retain=plain[~gone],
        retain_labels=case.fit.labels[~gone],
        head=head,
        classes=case.classes if label in OTHERS else (),
        key=bytes([seed]),
    )
    return {**OTHERS, **GATES}[label].fit(context).eraser


def measured(eraser: Eraser | None, case: Case, seed: int) -> dict[str, Any]:
    """What the network and attackers read after an eraser, as shares and AUC."""
    held = len(case.fit.mirrored)
    fit, test = (
        _outputs(part.plain[: len(part.mirrored)], part, eraser, case)
        for part in (case.fit, case.asked)
    )
    right = test.logits.argmax(1) == test.labels
    near = [one for one in nearest(fit, test, seed=seed) if one.unit != "AUC"]
    pairs = [
        _pair(one, _outputs(part.mirrored, part, eraser, case))
        for one, part in ((fit, case.fit), (test, case.asked))
    ]
    return {
        "own forget": float(right[test.forget].double().mean()),
        "remaining": float(right[~test.forget].double().mean()),
        "linear": linear_probe(fit, test, seed).value,
        **{f"kNN-{k}": max(one.value for one in near if f"k={k}," in one.attack) for k in KS},
        "MLP": _mlp(fit.features, test.features, fit, test, seed),
        "MLP, two views": _mlp(*pairs, fit, test, seed),
        "AUC trees": trees(fit, test, seed)[1].value,
        "AUC whitened": by_place(fit, test, seed).value,
        "n": int(test.forget.sum()),
        "held": held,
    }


def _outputs(z: Tensor, part: Part, eraser: Eraser | None, case: Case) -> Outputs:
    weight, bias = case.head
    if eraser is not None:
        with torch.no_grad():
            z = torch.cat([eraser(one.double()).float() for one in z.split(2000)])
    logits = (z.double() @ weight.mT + bias).float()
    labels = part.labels[: len(z)]
    return Outputs(features=z, logits=logits, labels=labels, forget=case.forget(labels))


def _pair(one: Outputs, two: Outputs) -> Tensor:
    both = one.features, two.features
    return torch.cat([*both, (both[0] - both[1]).abs()], 1)


def _mlp(x: Tensor, asked: Tensor, fit: Outputs, test: Outputs, seed: int) -> float:
    """Share of the forgotten samples that a network with one hidden layer names rightly."""
    scores = fit_mlp(x, fit.labels, int(fit.labels.max()) + 1, [seed]).scores(asked)[0]
    return share_reading("", (scores.argmax(1) == test.labels).double(), test).value


def cost(eraser: Eraser, dim: int) -> dict[str, float]:
    """Milliseconds of the processor for one and for 64 samples, and the numbers that are stored."""
    found: dict[str, float] = {"numbers": numbers(eraser)}
    ready = eraser.float() if not isinstance(eraser, torch.Tensor) else eraser
    for batch in (1, 64):
        z = torch.randn(batch, dim).abs()
        found[f"ms, batch {batch}"] = _median_ms(lambda z=z: ready(z))
    return found


def _median_ms(call: Callable[[], Any]) -> float:
    taken = []
    with torch.no_grad():
        for _ in range(60):
            begun = time.process_time()
            call()
            taken.append(time.process_time() - begun)
    return 1000 * statistics.median(taken[10:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--split", choices=["training", "test"], default="training")
    parser.add_argument("--only", nargs="*", default=list(NETWORKS), help="networks")
    parser.add_argument("--rows", nargs="*", default=["original", *OTHERS, *VARIANTS, *GATES])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--features", type=Path, default=Path("build/ablation"))
    parser.add_argument("--json", type=Path, default=Path("results/resample-ablation.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    result = {
        "command": "python experiments/resample_ablation.py",
        "commands": [],
        "versions": versions(),
        "rows": [],
    }
    if args.json.exists():
        result = json.loads(args.json.read_text("utf-8"))
    command = shlex.join(["python", "experiments/resample_ablation.py", *sys.argv[1:]])
    result["commands"] = sorted({*result["commands"], command})
    for name in args.only:
        case = case_of(name, args.split, args.features)
        for label in args.rows:
            for seed in range(args.seeds):
                row = {"network": name, "split": args.split, "row": label, "seed": seed}
                if any(row.items() <= one.items() for one in result["rows"]):
                    continue
                begun = time.perf_counter()
                eraser = eraser_of(label, case, seed)
                row |= measured(eraser, case, seed)
                if eraser is not None:
                    row |= cost(eraser, case.fit.plain.shape[1])
                result["rows"].append(row)
                args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
                args.json.with_suffix(".md").write_text(table(result), "utf-8")
                print(json.dumps(row), f"{time.perf_counter() - begun:.0f} s", flush=True)


SHARES = ("own forget", "remaining", "linear", "kNN-1", "kNN-5", "kNN-20", "MLP", "MLP, two views")
AREAS = ("AUC trees", "AUC whitened")
COSTS = ("numbers", "ms, batch 1", "ms, batch 64")


def table(result: dict[str, Any]) -> str:
    """The rows as Markdown."""
    lines = [
        "# What each part of resample earns",
        "",
        *(f"`{command}`  " for command in result["commands"]),
        "",
        "Percent of the forgotten samples that the own head and attackers name rightly, and of the",
        "others that the own head does. AUC: forgotten against others, 0.5 is chance. Several",
        "keys: mean ± standard deviation. Cost: numbers stored, milliseconds of the eraser alone.",
        "",
    ]
    for split in ("training", "test"):
        for name in NETWORKS:
            own = [row for row in result["rows"] if (row["network"], row["split"]) == (name, split)]
            if own:
                lines += _of_network(name, split, own)
    return "\n".join(lines) + "\n"


def _of_network(name: str, split: str, rows: list[dict[str, Any]]) -> list[str]:
    n = rows[0]["n"]
    low, high = share_interval(0.1 * n, n)
    asked = "training samples held out" if split == "training" else "test samples"
    columns = (*SHARES, *AREAS, *COSTS)
    lines = [
        f"## {name}, {asked}",
        "",
        f"n = {n}; the 95 % interval of 10 % is {100 * low:.1f} to {100 * high:.1f} %.",
        "",
        "| row | keys | " + " | ".join(columns) + " |",
        "|---" * (len(columns) + 2) + "|",
    ]
    for label in dict.fromkeys(row["row"] for row in rows):
        own = [row for row in rows if row["row"] == label]
        cells = [_cell(column, [row.get(column, math.nan) for row in own]) for column in columns]
        lines.append(f"| {label} | {len(own)} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _cell(column: str, values: list[float]) -> str:
    if math.isnan(sum(values)):
        return ""
    if column == "numbers":
        return f"{values[0]:.0f}"
    scale, digits = (100, 1) if column in SHARES else (1, 2)
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    if len(values) < 2 or column in COSTS:
        return mean
    return f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


if __name__ == "__main__":
    main()
