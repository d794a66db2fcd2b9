"""What converged attackers get from features and scores after ESC, LEACE and resample, on three
networks and three keys.

All-CNN on CIFAR-10 (the shared checkpoint and its Retrain reference), All-CNN on Fashion-MNIST and
a ResNet on CIFAR-10 (trained here once, kept in --networks). Class 4 (deer, coat).
`fashion-mnist-groups` stands for a person: an All-CNN that learned five groups of clothes (tops,
trousers, dresses, shoes, bags) and never the label coat; coats are the request, attackers have all
ten labels. Attackers hold the features of all training samples with true labels and are scored on
test samples. Some rows have `asked`: an MLP that gets the answers to an image and its mirror image,
and one that gets a single answer to the image at half contrast (20,000 training images). Features
of the original network are read once; erasers are fitted on them and applied to them, which is what
the erased model computes (`unspan.erase` checks it). One JSON a row; a file that is there is kept.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import torch
from _attacks import FORGET, asked
from _survive_attacks import measured
from _survive_features import GROUPS, NETWORKS, features, views
from _survive_table import table

from unspan.erasers import Eraser
from unspan.extraction import statistics
from unspan.extraction.stream import TensorFeatures
from unspan.methods import ESC, LEACE, FitContext, Resample
from unspan.metrics.outputs import Outputs

ROWS = {  # label: method, retained samples it reads (None: all), how statistics reach it
    "original": (None, None),
    "esc": (ESC(), None),
    "leace": (LEACE(), None),
    "resample": (Resample(), None),
    "resample, 200 retained a class": (Resample(), 1800),
    "resample, 20 retained a class": (Resample(), 180),
    "resample, statistics file": (Resample(statistics="FILE"), None),
    "resample, head only": (Resample(statistics="head"), None),
    "resample, fitted gate": (Resample(), None),
    "resample, fitted gate 5 %": (Resample(false_positives=0.05), None),
    "resample, no head": (Resample(), None),
    "resample, drawn 0": (Resample(noise_fraction=0.0), None),
}
GONE = ("resample, margin 0.5",)  # of a setting that hid no more and is gone; its files stay
SEVERAL_KEYS = {
    "resample",
    "resample, statistics file",
    "resample, head only",
    "resample, fitted gate",
}
FEWER = {
    "cifar10-allcnn-retrained": ("original",),
    "fashion-mnist-groups": (
        "original",
        "esc",
        "resample, fitted gate",
        "resample, fitted gate 5 %",
    ),
}  # rows of some networks
ASKED = (
    "original",
    "esc",
    "leace",
    "resample",
    "resample, head only",
    "resample, drawn 0",
)  # rows that are asked twice


def fitted(
    label: str, found: dict[str, Any], key: bytes, folder: Path
) -> tuple[Eraser | None, dict[str, Any]]:
    """The eraser of a row, and what its fit says of itself."""
    method, most = ROWS[label]
    if method is None:
        return None, {}
    fit, head = found["train"], found["head"]
    by_class = "gate" not in label and "no head" not in label
    retain: TensorFeatures | None
    if "file" in label:
        # as written when the model was trained, with the class that is forgotten later
        everything = TensorFeatures(fit.features, fit.labels, 512)
        path = statistics.of_stream(everything, head).save(folder / "statistics.safetensors")
        method = Resample(statistics=str(path))
        retain = None
    else:
        rest = _some(fit.rows(~fit.forget), most, key[0])
        retain = TensorFeatures(rest.features, rest.labels, 512)
    context = FitContext(
        forget=TensorFeatures(fit.features[fit.forget], fit.labels[fit.forget], 512),
        retain=retain,
        head=None if "no head" in label else head,
        key=key,
        classes=(FORGET,) if by_class else (),
    )
    done = method.fit(context)
    report = {name: value for name, value in done.report.items() if name != "singular_values"}
    return done.eraser, report


def _some(rest: Outputs, most: int | None, seed: int) -> Outputs:
    """At most so many samples, drawn at random."""
    if not most:
        return rest
    stream = torch.Generator().manual_seed(seed)
    return rest.rows(torch.randperm(len(rest), generator=stream)[:most])


def is_wanted(name: str, label: str, seed: int) -> bool:
    """Whether a network has this row with this key."""
    return (not seed or label in SEVERAL_KEYS) and label in FEWER.get(name, ROWS)


def completed(
    row: dict[str, Any], name: str, label: str, seed: int, found: dict[str, Any], folder: Path
) -> dict[str, Any] | None:
    """A row with what it lacks; None where it lacks nothing."""
    twice = label in ASKED and name not in GROUPS and "asked" not in row
    if row and not twice:
        return None
    begun = time.perf_counter()
    eraser, report = fitted(label, found, bytes([seed]), folder)
    seconds = time.perf_counter() - begun
    if not row:
        row = {
            "network": name,
            "row": label,
            "seed": seed,
            "fit": report,
            "fit_seconds": round(seconds, 2),
            **measured(eraser, found, seed),
        }
    if twice:
        row["asked"] = asked(eraser, found, views(name, folder), seed)
    return row


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=Path, default=Path("build/survive"))
    parser.add_argument("--out", type=Path, default=Path("results/survive"))
    parser.add_argument("--only", nargs="*", help="networks")
    parser.add_argument("--rows", nargs="*", help="rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--table", action="store_true", help="only write the table of what is there"
    )
    return parser.parse_args()


def main() -> None:
    """Compute rows, or only write their table."""
    o = arguments()
    torch.set_num_threads(o.threads)
    if o.table:
        write_table(o.out)
    else:
        fill(o)


def fill(o: argparse.Namespace) -> None:
    """Compute the rows that are missing, and keep each at once."""
    o.networks.mkdir(parents=True, exist_ok=True)
    o.out.mkdir(parents=True, exist_ok=True)
    for name in o.only or NETWORKS:
        found = features(name, o.networks)
        for seed in range(o.seeds):
            for label in [one for one in o.rows or ROWS if is_wanted(name, one, seed)]:
                file = o.out / f"{name}.{re.sub('[^a-z0-9]+', '-', label).strip('-')}.{seed}.json"
                row = json.loads(file.read_text("utf-8")) if file.exists() else {}
                begun = time.perf_counter()
                row = completed(row, name, label, seed, found, o.networks)
                if row is None:
                    continue
                file.write_text(json.dumps(row, indent=1), "utf-8")
                write_table(o.out)
                show(row, time.perf_counter() - begun)


def write_table(out: Path) -> None:
    """Write `survive.md` beside the folder of rows."""
    (out.parent / "survive.md").write_text(table(out, NETWORKS, (*ROWS, *GONE)), "utf-8")


def show(row: dict[str, Any], seconds: float) -> None:
    """Print one line of a row."""
    strongest = max(one["value"] for one in row["probes"].values())
    print(
        f"{row['network']:<26} {row['row']:<32} {row['seed']}  own {row['own forget']:.3f} /"
        f" {row['remaining']:.3f}  strongest {strongest:.3f}  {seconds:.0f} s",
        flush=True,
    )


if __name__ == "__main__":
    main()
