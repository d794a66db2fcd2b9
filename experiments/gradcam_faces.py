"""Where does a face network look for a person before and after an erasure? Grad-CAM on LFW.

Trains the head of `python:unspan.zoo:face_identities` on `lfw62` (kept in the folder of results),
erases six people by ESC and draws the regions that raise the score of each person, before and
after. The pictures show people who were never asked. They stay on this machine: the script writes
into `build/`, or outside the repository.
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Subset

import unspan
from unspan.auditing.gradcam import panels
from unspan.auditing.subjects import subject
from unspan.benchmark import networks
from unspan.benchmark.data import Data, opened
from unspan.benchmark.memory import in_memory
from unspan.benchmark.spec import find, load
from unspan.benchmark.store import Store
from unspan.data.labels import labels_of
from unspan.methods import ESC
from unspan.models import build
from unspan.models.frozen_front import FrozenFront
from unspan.run import Run

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("UNSPAN_SHARED", ROOT.parent / "shared"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / "build/gradcam-faces")
    parser.add_argument("--data-root", type=Path, default=SHARED / "data")
    parser.add_argument("--count", type=int, default=6, help="pictures, one a person")
    args = parser.parse_args()
    out = local(args.out)
    os.environ.setdefault(
        "UNSPAN_FACE_WEIGHTS", str(SHARED / "checkpoints/face-dlib128-fp16.safetensors")
    )
    cell = load(find("lfw62"), "paper").rows[0].cells[0]
    pictures = drawn(out, args.data_root, cell, args.count)
    for number, row in enumerate(pictures, 1):
        for name in ("image", "before", "after"):
            content = base64.b64decode(row[name].partition(",")[2])
            (out / f"person-{number}-{name}.png").write_bytes(content)
    print(f"{len(pictures)} people in {out}")


def local(out: Path) -> Path:
    """The folder, made; refused where it could be committed.

    Raises:
        SystemExit: it lies inside the repository and not in `build/`.
    """
    path, build_folder = out.resolve(), ROOT / "build"
    if path.is_relative_to(ROOT) and not path.is_relative_to(build_folder):
        sys.exit(
            f"{out} lies in the repository, where pictures of people must not be. Choose a folder"
            f" inside {build_folder}, or outside the repository."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def drawn(out: Path, root: Path, cell: Any, count: int) -> list[dict[str, str]]:
    """Grad-CAM of the first test image of so many of the erased people."""
    whole = build(cell.model, num_classes=_people(cell.data, root)).model
    assert isinstance(whole, FrozenFront)
    tail, prepare = networks.start(cell.model, _people(cell.data, root), 0)
    run = Run(batch_size=64)
    data = opened(cell.data, root, prepare)
    fit = in_memory(data.train, run)
    tail, _ = networks.trained(
        Store(out / "bench"), cell.model, cell.train, fit, len(data.classes), run
    )
    done = unspan.erase(tail, _request(fit, data, cell.request["classes"]), ESC(), run)
    shown = opened(cell.data, root, prepare.prepare)
    positions = _first_of_each(labels_of(shown.test), cell.request["classes"][:count])
    images = torch.stack([shown.test[i][0] for i in positions])
    labels = torch.tensor([shown.test[i][1] for i in positions])
    both = []
    for name, part in (("before", tail), ("after", done.model)):
        both.append(subject(name, FrozenFront(whole.front, part, "head").eval(), images))
    return panels(both[0], both[1], images, labels, count)


def _people(name: str, root: Path) -> int:
    return len(opened(name, root, None).classes)


def _request(fit: Any, data: Data, classes: list[int]) -> unspan.Request:
    labels = torch.tensor(labels_of(data.train))
    asked = torch.isin(labels, torch.tensor(classes))
    return unspan.Request(
        forget=Subset(fit, asked.nonzero()[:, 0].tolist()),
        retain=Subset(fit, (~asked).nonzero()[:, 0].tolist()),
        kind="class",
        selector=tuple(data.classes[one] for one in classes),
        classes=tuple(classes),
    )


def _first_of_each(labels: list[int], classes: list[int]) -> list[int]:
    return [labels.index(one) for one in classes]


if __name__ == "__main__":
    main()
