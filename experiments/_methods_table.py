"""The table of `experiments/methods.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from unspan.methods import METHODS, by_name

HEADS = (
    "| method | needs D_r | D_f ↓ | D_r ↑ | D_ft ↓ | D_rt ↑ | HM_t ↑ | KR ↓ | probe ↓ | kNN ↓ | MIA"
    " | seconds | chosen |"
)
_READ = (
    "D_f, D_r: accuracy in percent of the model itself on training images of deer and on the 10,000"
    " others. D_ft, D_rt: on test images (n = 800 deer, 9,000 others). KR: the published probe on"
    " test deer, fitted on the 10,000. Probe, kNN: converged linear probe and 20 nearest neighbours"
    " on test deer. MIA: balanced loss attack, 50 is ideal. One seed. Intervals are in the JSON."
)
_SHARES = ("train forget", "train retain", "test forget", "test retain")
_ATTACKS = ("KR (published)", "converged probe", "kNN-20", "MIA (balanced)")


def table(folder: Path, about: str) -> str:
    """Markdown of every file in the folder.

    Args:
        folder: with one JSON file a method.
        about: what was measured.
    """
    lines = [
        "# Every method on CIFAR-10, All-CNN, class deer, at a reduced budget",
        "",
        f"`python experiments/methods.py` (JSON in `results/methods/`). {about}",
        "",
        _READ,
        "",
        HEADS,
        "|" + "---|" * 13,
    ]
    order = ["original", *(method.name for method in METHODS)]
    for path in sorted(
        folder.glob("*.json"), key=lambda path: order.index(path.stem) if path.stem in order else 99
    ):
        lines.append(_row(json.loads(path.read_text("utf-8"))))
    return "\n".join(lines) + "\n"


def _row(one: dict[str, Any]) -> str:
    """The row of one method."""
    name = one["method"]
    needs = ""
    if name != "original":
        needs = "yes" if "retain" in by_name(name)().needs else "no"
    chosen = ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in {**one.get("cut", {}), **one.get("chosen", {})}.items()
    )
    if "error" in one:
        return f"| {name} | {needs} | {one['error'][:160]} |" + " |" * 9 + f" {chosen} |"
    found = one["measured"]
    values = [100 * found[key]["value"] for key in _SHARES]
    values.append(found["HM test"])
    values += [100 * found[key]["value"] for key in _ATTACKS]
    cells = " | ".join(f"{value:.1f}" for value in values)
    return f"| {name} | {needs} | {cells} | {one['seconds']:.0f} | {chosen} |"
