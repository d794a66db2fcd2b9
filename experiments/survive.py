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
the erased model computes (`unspan.erase` checks it, and `--end-to-end` runs it). One JSON a row; a
file that is there is kept.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import statistics as statistics_
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from _attacks import FORGET, area, as_row, asked, by_place, equal, logarithms, mahalanobis, trees
from _networks import SHARED, ResNet, data, network
from torch import Tensor, nn

from unspan.erasers import Eraser, placed
from unspan.extraction import find_feature_layer, head_parameters, read, statistics
from unspan.extraction.stream import TensorFeatures
from unspan.methods import ESC, LEACE, FitContext, Resample
from unspan.metrics.fewshot import fewshot
from unspan.metrics.guardedness import affine_auc
from unspan.metrics.linear import linear_auc, linear_probe
from unspan.metrics.mlp import mlp_probe
from unspan.metrics.neighbours import nearest
from unspan.metrics.outputs import Outputs
from unspan.metrics.score import auc_reading
from unspan.metrics.signature import log_probabilities, signature
from unspan.metrics.stability import disturbed, instability
from unspan.metrics.whitening import whitened_probe
from unspan.zoo import AllCNN

NOISY = 500
NETWORKS: dict[str, tuple[str, Callable[[], nn.Module], int, str | None]] = {
    "cifar10-allcnn": ("cifar10", AllCNN, 0, "allcnn-cifar10-original.safetensors"),
    "cifar10-allcnn-retrained": ("cifar10", AllCNN, 0, "allcnn-cifar10-without-deer.safetensors"),
    "fashion-mnist-allcnn": ("fashion-mnist", AllCNN, 3, None),
    "cifar10-resnet": ("cifar10", ResNet, 8, None),
    "fashion-mnist-groups": ("fashion-mnist", lambda: AllCNN(5), 3, None),
}
GROUPS = {
    "fashion-mnist-groups": (0, 1, 0, 2, 0, 3, 0, 3, 4, 3)
}  # what a network answers for each class, where that is not the class
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
    "resample, margin 0.5": (Resample(margin=0.5), None),
}
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


def features(name: str, folder: Path) -> dict[str, Any]:
    """Outputs of a network on train and test, its head, and clean and noisy outputs of some test
    samples.
    """
    kept = folder / f"{name}-features.pt"
    if kept.exists() and "moved, 5 %" in (found := torch.load(kept, weights_only=False)):
        return found
    source, build, epochs, weights = NETWORKS[name]
    parts = data(source)
    answers = torch.tensor(GROUPS.get(name, tuple(range(10))))
    x, y = parts["train"]
    model = network(
        name,
        build,
        (x, answers[y]),
        folder,
        epochs=epochs,
        weights=SHARED / "checkpoints" / weights if weights else None,
    )
    feature_layer, _ = find_feature_layer(model, x[:2])
    found: dict[str, Any] = {"head": head_parameters(model, feature_layer), "answers": answers}
    with torch.no_grad():
        for split, (x, y) in parts.items():
            both = [read(model, feature_layer, part) for part in x.split(250)]
            found[split] = Outputs(
                features=torch.cat([z for z, _ in both]),
                logits=torch.cat([out for _, out in both]),
                labels=y,
                forget=y == FORGET,
            )
        x, y = parts["test"]
        some = torch.cat(
            [
                torch.nonzero(mask)[:, 0][:: max(1, int(mask.sum()) // NOISY)][:NOISY]
                for mask in (y == FORGET, y != FORGET)
            ]
        )
        found["moved"] = (
            *disturbed(lambda part: read(model, feature_layer, part)[0], x[some]),
            y[some] == FORGET,
        )
        found["moved 20"] = [
            disturbed(lambda part: read(model, feature_layer, part)[0], x[some], seed=seed)[1]
            for seed in range(20)
        ]
        found["mirrored"] = read(model, feature_layer, x[some].flip(3))[0]
        found["moved, 5 %"] = disturbed(
            lambda part: read(model, feature_layer, part)[0], x[some], noise=0.05
        )[1]
    torch.save(found, kept)
    return found


def views(name: str, folder: Path) -> dict[str, Any]:
    """Features of some training images and all test images, mirrored and at half contrast."""
    kept = folder / f"{name}-views.pt"
    if kept.exists():
        return torch.load(kept, weights_only=False)
    source, build, epochs, weights = NETWORKS[name]
    parts = data(source)
    model = network(
        name,
        build,
        parts["train"],
        folder,
        epochs=epochs,
        weights=SHARED / "checkpoints" / weights if weights else None,
    )
    feature_layer, _ = find_feature_layer(model, parts["train"][0][:2])
    some = torch.randperm(len(parts["train"][0]), generator=torch.Generator().manual_seed(0))[
        :20_000
    ]
    found: dict[str, Any] = {"some": some}
    with torch.no_grad():
        for view, change in {
            "mirrored": lambda x: x.flip(3),
            "half contrast": lambda x: 0.5 * x,
        }.items():
            found[view] = {
                split: torch.cat(
                    [read(model, feature_layer, change(part))[0] for part in x.split(250)]
                )
                for split, x in (("train", parts["train"][0][some]), ("test", parts["test"][0]))
            }
    torch.save(found, kept)
    return found


def fitted(
    label: str, found: dict[str, Any], key: bytes, folder: Path
) -> tuple[Eraser | None, dict[str, Any]]:
    """The eraser of a row."""
    method, most = ROWS[label]
    if method is None:
        return None, {}
    fit, head = found["train"], found["head"]
    by_class = "gate" not in label and "no head" not in label
    rest = fit.rows(~fit.forget)
    if most:
        rest = rest.rows(
            torch.randperm(len(rest), generator=torch.Generator().manual_seed(key[0]))[:most]
        )
    retain: TensorFeatures | None = TensorFeatures(rest.features, rest.labels, 512)
    if "file" in label:
        # as written when the model was trained, with the class that is forgotten later
        everything = TensorFeatures(fit.features, fit.labels, 512)
        path = statistics.of_stream(everything, head).save(folder / "statistics.safetensors")
        method = Resample(statistics=str(path))
        retain = None
    context = FitContext(
        forget=TensorFeatures(fit.features[fit.forget], fit.labels[fit.forget], 512),
        retain=retain,
        head=None if "no head" in label else head,
        key=key,
        classes=(FORGET,) if by_class else (),
    )
    done = method.fit(context)
    return done.eraser, {
        name: value for name, value in done.report.items() if name != "singular_values"
    }


def measured(eraser: Eraser | None, found: dict[str, Any], seed: int) -> dict[str, Any]:
    """Every attack of the issue, on one eraser."""
    weight, bias = found["head"]
    double = None if eraser is None else placed(eraser, "last", torch.zeros(1, dtype=torch.float64))

    def through(z: Tensor) -> Tensor:
        return z if double is None else double(z.double()).float()

    def outputs(one: Outputs) -> Outputs:
        z = through(one.features)
        return Outputs(
            features=z,
            logits=(z.double() @ weight.mT + bias).float(),
            labels=one.labels,
            forget=one.forget,
        )

    fit, test = outputs(found["train"]), outputs(found["test"])
    hit = test.logits.argmax(1) == found.get("answers", torch.arange(10))[test.labels]
    row: dict[str, Any] = {
        "own forget": float(hit[test.forget].double().mean()),
        "remaining": float(hit[~test.forget].double().mean()),
    }
    probes = [
        linear_probe(fit, test, seed),
        whitened_probe(fit, test, seed),
        mlp_probe(fit, test, seed),
    ]
    neighbours = nearest(fit, test, seed=seed)
    probes += [one for one in neighbours if one.unit != "AUC"]
    areas = [
        linear_auc(fit, test, seed),
        affine_auc(fit, test),
        *(one for one in neighbours if one.unit == "AUC"),
    ]
    areas += [
        area("MLP", fit.features, fit.forget, test.features, test.forget, seed),
        by_place(fit, test, seed),
        mahalanobis(fit, test),
    ]
    scores = [
        signature(fit, test),
        area(
            "MLP",
            log_probabilities(fit).float(),
            fit.forget,
            log_probabilities(test).float(),
            test.forget,
            seed,
        ),
    ]
    clean, noisy, mark = found["moved"]
    still = [
        torch.stack(
            [
                (through(one) - through(clean)).norm(dim=1) / through(clean).norm(dim=1)
                for one in found["moved 20"]
            ]
        ).amax(0)
    ]
    for attack in (logarithms, trees):
        probe, sees = attack(fit, test, seed)
        probes, areas = [*probes, probe], [*areas, sees]
    mirrored = (through(found["mirrored"]) - through(clean)).norm(dim=1) / through(clean).norm(
        dim=1
    )
    row["probes"] = {one.attack: as_row(one) for one in probes}
    row["AUC, features"] = {one.attack: as_row(one) for one in areas}
    row["AUC, log-probabilities"] = {one.attack: as_row(one) for one in scores}
    row["instability"] = {
        "equal values": as_row(equal(through(clean), through(noisy), mark)),
        "one query": as_row(instability(through(clean), through(noisy), mark)),
        "most of 20 queries": as_row(auc_reading("", still[0][mark], still[0][~mark])),
        "one query, 5 %": as_row(instability(through(clean), through(found["moved, 5 %"]), mark)),
        "mirrored": as_row(auc_reading("", mirrored[mark], mirrored[~mark])),
    }
    row["few-shot"] = {one.attack: as_row(one) for one in fewshot(fit, test, seed, shots=(10, 50))}
    return row


ASKED = (
    "original",
    "esc",
    "leace",
    "resample",
    "resample, head only",
    "resample, drawn 0",
)  # rows that are asked twice
VIEWS = ("one answer", "two views", "two views, log-probabilities", "half contrast, one answer")
COLUMNS = {  # title: what of a row
    "own head: forget": lambda row: row["own forget"],
    "remaining": lambda row: row["remaining"],
    "linear": lambda row: _most(row["probes"], "linear probe"),
    "kNN-1": lambda row: _most(row["probes"], "kNN k=1,"),
    "kNN-5": lambda row: _most(row["probes"], "kNN k=5"),
    "kNN-20": lambda row: _most(row["probes"], "kNN k=20"),
    "MLP": lambda row: _most(row["probes"], "MLP"),
    "logarithms": lambda row: _most(row["probes"], "logarithms"),
    "trees": lambda row: _most(row["probes"], "trees"),
    "**strongest**": lambda row: _most(row["probes"], ""),
    "10-shot": lambda row: _most(row["few-shot"], "m=10"),
}
AREAS = {
    "linear, affine": lambda row: max(
        _most(row["AUC, features"], "linear probe"), _most(row["AUC, features"], "affine")
    ),
    "kNN": lambda row: _most(row["AUC, features"], "kNN"),
    "MLP": lambda row: row["AUC, features"]["MLP"]["value"],
    "Mahalanobis": lambda row: _most(row["AUC, features"], "Mahalanobis"),
    "MLP, by place": lambda row: _most(row["AUC, features"], "whitened by"),
    "logarithms": lambda row: _most(row["AUC, features"], "logarithms"),
    "trees": lambda row: _most(row["AUC, features"], "trees"),
    "log-prob., linear": lambda row: _most(row["AUC, log-probabilities"], "signature"),
    "log-prob., MLP": lambda row: row["AUC, log-probabilities"]["MLP"]["value"],
    "noise, 1 query": lambda row: row["instability"]["one query"]["value"],
    "noise, 20 queries": lambda row: row["instability"]["most of 20 queries"]["value"],
    "equal values under noise": (
        lambda row: row["instability"].get("equal values", {"value": math.nan})["value"]
    ),
    "noise of 5 %": lambda row: row["instability"]["one query, 5 %"]["value"],
    "mirrored": lambda row: row["instability"]["mirrored"]["value"],
}


def _most(readings: dict[str, dict[str, Any]], part: str) -> float:
    return max(
        (
            one["value"]
            for name, one in readings.items()
            if part in name or (part == "m=10" and name.endswith("m=10"))
        ),
        default=math.nan,
    )


def table(out: Path) -> str:
    """Markdown of all rows that are there: mean and spread over keys."""
    rows = [json.loads(file.read_text("utf-8")) for file in sorted(out.glob("*.json"))]
    lines = [
        "# What converged attackers get after each eraser",
        "",
        (
            "`python experiments/survive.py` (JSON in `results/survive/`, with intervals). Class 4"
            " (deer, coat). Probes are fitted on the features of all training samples with"
        ),
        (
            "true labels and read test samples of the class (n = 1,000); percent, mean ± standard"
            " deviation over keys 0, 1, 2 (also the seeds of the attacks) where a row has"
        ),
        (
            "a key. AUC: forget against rest, 0.5 knows nothing; `MLP, by place` knows the map and"
            " whitens every predicted class by itself; `noise`: the same image again with"
        ),
        (
            "noise of 1 % of the pixels' deviation, who moves more (500 + 500 test images; the"
            " original's value is what the class does by nature); `mirrored`: the mirrored"
        ),
        (
            "image instead; `equal values under noise`: a value other than 0 that is the same to"
            " the bit. `Mahalanobis`: distance from the predicted class. `trees`: gradient boosting"
            " on features and predicted class, `logarithms`: logistic regression on features,"
            " logarithms and zeros (20,000 samples)."
        ),
        "",
    ]
    for name in NETWORKS:
        mine = [row for row in rows if row["network"] == name]
        if not mine:
            continue
        lines += [f"## {name}", ""]
        for columns, scale, digits in ((COLUMNS, 100, 1), (AREAS, 1, 2)):
            lines += [
                f"| {'AUC' if columns is AREAS else '%'} | keys | " + " | ".join(columns) + " |",
                "|---" * (len(columns) + 2) + "|",
            ]
            for label in ROWS:
                own = [row for row in mine if row["row"] == label]
                if own:
                    lines.append(
                        f"| {label} | {len(own)} | "
                        + " | ".join(
                            _cell([scale * pick(row) for row in own], digits)
                            for pick in columns.values()
                        )
                        + " |"
                    )
            lines.append("")
        twice = [row for row in mine if "asked" in row]
        if twice:
            lines += [
                "| MLP: reads the class, % / AUC | keys | " + " | ".join(VIEWS) + " |",
                "|---" * (len(VIEWS) + 2) + "|",
            ]
            for label in ROWS:
                own = [row["asked"] for row in twice if row["row"] == label]
                if own:
                    lines.append(
                        f"| {label} | {len(own)} | "
                        + " | ".join(
                            f"{_cell([100 * row[view]['forget']['value'] for row in own], 1)} /"
                            f" {_cell([row[view]['AUC']['value'] for row in own], 2)}"
                            for view in VIEWS
                        )
                        + " |"
                    )
            lines.append("")
    return "\n".join(lines)


def _cell(values: list[float], digits: int) -> str:
    if math.isnan(sum(values)):
        return ""  # a row from before this column
    mean = f"{statistics_.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics_.stdev(values):.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", type=Path, default=Path("build/survive"))
    parser.add_argument("--out", type=Path, default=Path("results/survive"))
    parser.add_argument("--only", nargs="*", help="networks")
    parser.add_argument("--rows", nargs="*", help="rows")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    o = parser.parse_args()
    torch.set_num_threads(o.threads)
    o.networks.mkdir(parents=True, exist_ok=True)
    o.out.mkdir(parents=True, exist_ok=True)
    for name in o.only or NETWORKS:
        found = features(name, o.networks)
        for seed in range(o.seeds):
            for label in o.rows or ROWS:
                file = o.out / f"{name}.{re.sub('[^a-z0-9]+', '-', label).strip('-')}.{seed}.json"
                if (seed and label not in SEVERAL_KEYS) or label not in FEWER.get(name, ROWS):
                    continue
                row = json.loads(file.read_text("utf-8")) if file.exists() else {}
                twice = label in ASKED and name not in GROUPS and "asked" not in row
                if row and not twice:
                    continue
                begun = time.perf_counter()
                eraser, report = fitted(label, found, bytes([seed]), o.networks)
                fit_seconds = time.perf_counter() - begun
                if not row:
                    row = {
                        "network": name,
                        "row": label,
                        "seed": seed,
                        "fit": report,
                        "fit_seconds": round(fit_seconds, 2),
                        **measured(eraser, found, seed),
                    }
                if twice:
                    row["asked"] = asked(eraser, found, views(name, o.networks), seed)
                file.write_text(json.dumps(row, indent=1), "utf-8")
                (o.out.parent / "survive.md").write_text(table(o.out), "utf-8")
                print(
                    f"{name:<26} {label:<32} {seed}  own {row['own forget']:.3f} /"
                    f" {row['remaining']:.3f}  strongest"
                    f" {max(one['value'] for one in row['probes'].values()):.3f} "
                    f" {time.perf_counter() - begun:.0f} s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
