"""One person after the other is erased from a model of embeddings. Is the person still found?

Faces: `lfw62` (62 people of LFW), dlib's face network. Speakers: `fsdd` (6 speakers, single spoken
digits), the encoder in the package `resemblyzer`, which has to be installed for them. A request has
the first m training samples of the person, and all training samples of the others to keep. Then all
training samples are enrolled anew in the erased model, and all test samples are looked for.

Settings of `redraw` were chosen with the second half of everybody's training samples as test
samples (`--split training`). People are numbered, never named or shown.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from _bootstrap import spread
from _people_measures import Photos, measured
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from unspan.artifact.receipt import versions
from unspan.data.preprocess import Preprocess
from unspan.erasers import Eraser, Redrawer
from unspan.errors import UnspanError
from unspan.extraction import statistics
from unspan.methods import ESC, LEACE, EraserMethod, FitContext, Redraw

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("UNSPAN_SHARED", ROOT.parent / "shared"))
SAMPLES = (3, 5, 10, 20)
FILE = "build/people/statistics.safetensors"  # of everybody's enrolled samples, with their names
METHODS: dict[str, EraserMethod | None] = {
    "original": None,
    "ESC, k = 1": ESC(rank=1),
    "ESC, k = 3": ESC(rank=3),
    "LEACE": LEACE(),
    "redraw": Redraw(),
    "redraw, statistics alone": Redraw(statistics=FILE),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", choices=["faces", "speakers"], default="faces")
    parser.add_argument("--split", choices=["test", "training"], default="test")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--samples", type=int, nargs="*", default=SAMPLES, help="of the person")
    parser.add_argument("--cache", type=Path, default=Path("build/people"))
    parser.add_argument("--json", type=Path, help="default: results/people-DATA.json")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    out = args.json or Path(f"results/people-{args.data}.json")
    photos = embedded(args.data, args.cache)
    if args.split == "training":
        photos = halves(photos)
    Path(FILE).parent.mkdir(parents=True, exist_ok=True)
    statistics.of_features(photos.enrolled, photos.names, None).save(FILE)
    cells = []
    for name, samples, values in all_cells(photos, args.methods, args.samples):
        cells.append({"method": name, "samples": samples, **values})
        print(json.dumps(cells[-1]), flush=True)
    result = {
        "command": " ".join(["python", "experiments/people.py", *sys.argv[1:]]),
        "people": len(photos.names.unique()),
        "enrolled": len(photos.names),
        "asked": len(photos.truth),
        "versions": versions(),
        "cells": cells,
    }
    out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    out.with_suffix(".md").write_text(table(args.data, result), "utf-8")


def all_cells(
    photos: Photos, names: list[str], counts: Sequence[int]
) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """The methods of these names with so many samples, each person erased in turn."""
    for name in names:
        method = METHODS[name]
        for samples in (0,) if method is None else counts:
            people = photos.names.unique().tolist()
            rows = [one for one in (erased(photos, method, one, samples) for one in people) if one]
            refused = len(people) - len(rows)
            values: dict[str, Any] = {"refused": refused}
            if rows:
                values |= {key: over_people([row[key] for row in rows]) for key in rows[0]}
            yield name, samples, values


def erased(
    photos: Photos, method: EraserMethod | None, person: int, samples: int
) -> dict[str, float] | None:
    """What is left of one person; None where the method refuses the request."""
    if method is None:
        return measured(photos, lambda z: z, person)
    own = photos.names == person
    from_file = isinstance(method, Redraw) and method.statistics == FILE
    context = FitContext.from_tensors(
        photos.enrolled[own][:samples],
        retain=None if from_file else photos.enrolled[~own],
        retain_labels=None if from_file else photos.names[~own],
        classes=(person,) if from_file else (),
        key=f"person {person}".encode(),
    )
    try:
        eraser = method.fit(context).eraser.float()
    except UnspanError as error:
        print(person, error, flush=True)
        return None
    values = measured(photos, eraser, person)
    return values | {"known from the file": from_the_file(photos, eraser, person)}


def from_the_file(photos: Photos, eraser: Eraser, person: int) -> float:
    """AUC of telling the person from others by the eraser, which the public file holds.

    The score is that of its gate, or how far it moves a photo where it has none.
    """
    if isinstance(eraser, Redrawer):
        said = eraser.scores(photos.asked)
    else:
        said = (eraser(photos.asked) - photos.asked).norm(dim=1)
    return float(roc_auc_score(photos.truth == person, said.detach()))


def over_people(values: list[float]) -> dict[str, float]:
    """Mean over people with its bootstrap interval, extremes, and whose value is the largest."""
    return spread(values) | {"of person": values.index(max(values))}


def halves(photos: Photos) -> Photos:
    """The first half of everybody's training samples as enrolled, the second as asked."""
    first = torch.zeros(len(photos.names), dtype=torch.bool)
    for person in photos.names.unique():
        own = (photos.names == person).nonzero()[:, 0]
        first[own[: len(own) // 2]] = True
    return Photos(
        photos.enrolled[first], photos.names[first], photos.enrolled[~first], photos.names[~first]
    )


def embedded(data: str, cache: Path) -> Photos:
    """Embeddings of all samples, computed once."""
    file = cache / f"{data}.pt"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        embed = {"faces": faces, "speakers": speakers}[data]
        torch.save([part for split in ("train", "test") for part in embed(split)], file)
    return Photos(*torch.load(file, weights_only=True))


def faces(split: str) -> tuple[Tensor, Tensor]:
    """Embeddings `[n, 128]` of lfw62 by dlib's network, and who is shown."""
    network = face_network()
    images, names = photos_of(split)
    with torch.inference_mode():
        found = torch.cat([network(part) for part in images.split(32)])
    return found.clone(), names


def face_network() -> nn.Module:
    """dlib's face network with its public weights, in evaluation mode."""
    from unspan.zoo.face import face_net

    weights = SHARED / "checkpoints/face-dlib128-fp16.safetensors"
    os.environ.setdefault("UNSPAN_FACE_WEIGHTS", str(weights))
    return face_net()


def photos_of(split: str) -> tuple[Tensor, Tensor]:
    """Images `[n, 3, 150, 150]` of lfw62 as the face network takes them, and who is shown."""
    from unspan.zoo.face import FaceIdentities

    prepare = Preprocess.from_dict(FaceIdentities.preprocess)
    rows = pq.read_table(SHARED / f"data/lfw62/{split}.parquet").to_pydict()
    images = [prepare(Image.open(io.BytesIO(one["bytes"])).convert("RGB")) for one in rows["image"]]
    return torch.stack(images), torch.tensor(rows["label"])


def speakers(split: str) -> tuple[Tensor, Tensor]:
    """Embeddings `[n, 256]` of fsdd by the encoder of resemblyzer, and who speaks."""
    import librosa
    import soundfile
    from resemblyzer import VoiceEncoder

    encoder = VoiceEncoder("cpu", verbose=False)
    rows = pq.read_table(SHARED / f"data/fsdd/{split}.parquet").to_pydict()
    found = []
    for content in rows["wav"]:
        sound, rate = soundfile.read(io.BytesIO(content))
        sound = librosa.resample(sound.astype(np.float32), orig_sr=rate, target_sr=16_000)
        sound = 0.5 * sound / (np.abs(sound).max() + 1e-9)
        if len(sound) < 16_000:  # a digit is shorter than the encoder's window
            sound = np.tile(sound, 25_600 // len(sound) + 1)[:25_600]
        found.append(torch.tensor(encoder.embed_utterance(sound)))
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(0))
    return torch.stack(found)[order], torch.tensor(rows["speaker"])[order]


HEADS = {
    "rank-1, mean": "identified, mean",
    "rank-1, nearest": "identified, nearest",
    "trained probe": "identified, trained probe",
    "same person": "same-person AUC",
    "found in a search": "taken for another",
    "others, mean": "others, mean",
    "others, nearest": "others, nearest",
    "known from the file": "AUC from the file",
}
AREAS = ("same person", "known from the file")


def table(data: str, result: dict[str, Any]) -> str:
    """The cells as Markdown."""
    chance = 100 / result["people"]
    lines = [
        f"# A person erased from a model of embeddings: {data}",
        "",
        f"`{result['command']}`. {result['people']} people, each erased in turn;"
        f" {result['enrolled']} samples enrolled anew, {result['asked']} looked for. Means over"
        " people, in brackets the 95 % interval (bootstrap over people) and the worst person.",
        "",
        "- identified: the person's test samples that are named rightly, in percent, by the"
        " nearest mean of a person, by the nearest sample, and by a linear probe trained to the end"
        f" with the true names. Chance is {chance:.1f}.",
        "- same-person AUC: two test samples of the person against one of theirs and one of"
        " another. 0.5 is chance. Less says that they are less alike than those of strangers.",
        "- taken for another: by a search whose threshold lets 1 % of strangers pass, in percent.",
        "- others: change of their identification, in points.",
        "- AUC from the file: telling the person from others with the public file alone.",
        "",
        "| method | samples | " + " | ".join(HEADS.values()) + " |",
        "|---" * (len(HEADS) + 2) + "|",
    ]
    for cell in result["cells"]:
        shown = " | ".join(_shown(key, cell.get(key)) for key in HEADS)
        lines.append(f"| {cell['method']} | {cell['samples'] or ''} | {shown} |")
    return "\n".join(lines) + "\n"


def _shown(key: str, one: dict[str, float] | None) -> str:
    if one is None:
        return "–"
    form = "{:.2f}" if key in AREAS else "{:.1f}"
    scale = 1 if key in AREAS else 100
    mean, low, high, largest = (form.format(scale * one[name]) for name in BRACKET)
    if key.startswith("others"):
        return f"{mean} ({low} to {high})"
    return f"{mean} ({low} to {high}; {largest})"


BRACKET = ("mean", "low", "high", "largest")


if __name__ == "__main__":
    main()
