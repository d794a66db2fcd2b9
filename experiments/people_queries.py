"""A person was erased from a model of face embeddings. What does he read who alters photos?

Faces: `lfw62`, dlib's face network, five photos in each request, as in `experiments/people.py`. Ten
views of every photo, one unchanged and nine altered (mirrored, shifted, cropped and so on, those of
an audit), are embedded by the erased model. The attacker knows method, code and everything but the
key. Everybody is enrolled anew with all training photos. He identifies test photos

- by the mean of the ten embeddings, against means over the ten embeddings of enrolled photos;
- by the single view that lies nearest to the mean of anybody.

He also tells erased people from others by how far embeddings of the views lie apart.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from people import METHODS, SHARED, over_people
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from unspan.artifact.receipt import versions
from unspan.auditing.views import VIEWS
from unspan.data.preprocess import Preprocess
from unspan.erasers import Eraser
from unspan.errors import UnspanError
from unspan.methods import FitContext

SAMPLES = 5  # of the person, in the request
NAMES = ("original", "ESC, k = 3", "redraw")
Split = tuple[Tensor, Tensor]  # embeddings `[n, v, d]` of the views of photos, and who is shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path("build/people"))
    parser.add_argument("--json", type=Path, default=Path("results/people-queries.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    enrolled, asked = (embedded(split, args.cache) for split in ("train", "test"))
    cells = []
    for name in NAMES:
        rows = [attacked(name, enrolled, asked, one) for one in enrolled[1].unique().tolist()]
        told = [row for row in rows if row]
        cell = {"method": name, "refused": len(rows) - len(told)}
        cells.append(cell | {key: over_people([row[key] for row in told]) for key in told[0]})
        print(json.dumps(cells[-1]), flush=True)
    result = {
        "command": " ".join(["python", "experiments/people_queries.py", *sys.argv[1:]]),
        "samples": SAMPLES,
        "views": len(VIEWS),
        "versions": versions(),
        "cells": cells,
    }
    args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    args.json.with_suffix(".md").write_text(page(result), "utf-8")


def embedded(split: str, cache: Path) -> Split:
    """Embeddings `[n, v, 128]` of the views of all photos of a split, computed once."""
    from unspan.zoo.face import FaceIdentities, face_net

    file = cache / f"faces-views-{split}.pt"
    if file.exists():
        return torch.load(file, weights_only=True)
    weights = SHARED / "checkpoints/face-dlib128-fp16.safetensors"
    os.environ.setdefault("UNSPAN_FACE_WEIGHTS", str(weights))
    network, prepare = face_net(), Preprocess.from_dict(FaceIdentities.preprocess)
    rows = pq.read_table(SHARED / f"data/lfw62/{split}.parquet").to_pydict()
    found = []
    for start in range(0, len(rows["image"]), 32):
        images = torch.stack(
            [
                prepare(Image.open(io.BytesIO(one["bytes"])).convert("RGB"))
                for one in rows["image"][start : start + 32]
            ]
        )
        with torch.inference_mode():
            found.append(torch.stack([network(view(images)) for view in VIEWS], 1))
        print(f"{split}: {start + len(images)} of {len(rows['image'])} photos", flush=True)
    result = torch.cat(found).clone(), torch.tensor(rows["label"])
    cache.mkdir(parents=True, exist_ok=True)
    torch.save(result, file)
    return result


def attacked(name: str, enrolled: Split, asked: Split, person: int) -> dict[str, float] | None:
    """What the attacker reads of one person; None where the method refuses the request."""
    method = METHODS[name]
    z, names = enrolled
    eraser: Eraser | None = None
    if method is not None:
        own = names == person
        context = FitContext.from_tensors(
            z[own, 0][:SAMPLES],
            retain=z[~own, 0],
            retain_labels=names[~own],
            key=f"person {person}".encode(),
        )
        try:
            eraser = method.fit(context).eraser.float()
        except UnspanError as error:
            print(person, error, flush=True)
            return None
    known, looked = (normalize(through(eraser, part[0]), dim=2) for part in (enrolled, asked))
    truth = asked[1]
    mine = truth == person
    people = names.unique()
    means = torch.stack([known[names == one].mean((0, 1)) for one in people])
    means = normalize(means, dim=1)
    by_mean = people[(looked.mean(1) @ means.mT).argmax(1)]
    single = looked @ means.mT  # [n, v, people]
    by_view = people[single.amax(1).argmax(1)]
    spread = 1 - (looked[:, :1] * looked[:, 1:]).sum(2).mean(1)
    return {
        "one answer": share(people[single[:, 0].argmax(1)], truth, mine),
        "mean of views": share(by_mean, truth, mine),
        "best view": share(by_view, truth, mine),
        "others, mean of views": share(by_mean, truth, ~mine),
        "told by the spread": float(roc_auc_score(mine, spread)),
    }


def through(eraser: Eraser | None, z: Tensor) -> Tensor:
    """Embeddings `[n, v, d]` as the erased model gives them."""
    if eraser is None:
        return z
    return torch.stack([eraser(one) for one in z.unbind(1)], 1)


def share(answers: Tensor, truth: Tensor, rows: Tensor) -> float:
    """Share of photos that are named rightly."""
    return float((answers == truth)[rows].double().mean())


def page(result: dict[str, Any]) -> str:
    """The cells as Markdown."""
    heads = [key for key in result["cells"][0] if key not in ("method", "refused")]
    lines = [
        "# A person erased from a model of face embeddings, and altered photos",
        "",
        f"`{result['command']}`. {' '.join((__doc__ or '').split())}",
        "",
        "Percent of photos named rightly, means over people, in brackets the 95 % interval and the"
        " largest. The last column is an AUC, 0.5 is chance.",
        "",
        "| method | " + " | ".join(heads) + " |",
        "|---" * (len(heads) + 1) + "|",
    ]
    for cell in result["cells"]:
        shown = " | ".join(_shown(key, cell[key]) for key in heads)
        lines.append(f"| {cell['method']} | {shown} |")
    return "\n".join([*lines, ""])


def _shown(key: str, one: dict[str, float]) -> str:
    if key.startswith("told"):
        return f"{one['mean']:.2f} ({one['low']:.2f}–{one['high']:.2f})"
    return "{:.1f} ({:.1f}–{:.1f}; {:.0f})".format(
        *(100 * one[name] for name in ("mean", "low", "high", "largest"))
    )


if __name__ == "__main__":
    main()
