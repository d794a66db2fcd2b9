"""Calls between modules of unspan while `unspan.erase` removes one class from a small network.

    PYTHONPATH=src python tools/trace_erase.py [--list | --markdown]

Prints JSON: the number of calls, how many of them are not made for every sample, the number of
pairs of modules, and with `--list` the pairs in the order of first use. `--markdown` prints the
table of `docs/architecture.md`.
"""

import json
import sys
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import nn

import unspan

SAMPLES = 240
PACKAGE = str(Path(unspan.__file__).parent)


def small_erase() -> None:
    """Erase class 0 of three by the default method, on the CPU."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    labels = torch.arange(SAMPLES) % 3
    inputs = torch.randn(SAMPLES, 4) + 3 * nn.functional.one_hot(labels, 4)
    _train(model, inputs, labels)
    dataset = torch.utils.data.TensorDataset(inputs, labels)
    unspan.erase(model, unspan.Request.by_class(dataset, 0), run=unspan.Run(batch_size=64))


def _train(model: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimiser.step()


def module_of(frame: FrameType | None) -> str | None:
    """Dotted name of the nearest frame in unspan, the frame itself included."""
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(PACKAGE):
            return path[len(PACKAGE) + 1 :].removesuffix(".py").replace("/", ".")
        frame = frame.f_back
    return None


def trace() -> Counter[tuple[str, str]]:
    """How often each pair (calling module, called module) met in one erase."""
    calls: Counter[tuple[str, str]] = Counter()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or not frame.f_code.co_filename.startswith(PACKAGE):
            return
        source = module_of(frame.f_back)
        target = module_of(frame)
        if source is not None and target is not None and source != target:
            calls[source, target] += 1

    small_erase()  # imports and caches are not part of the walk
    sys.setprofile(note)
    try:
        small_erase()
    finally:
        sys.setprofile(None)
    return calls


def markdown(calls: Counter[tuple[str, str]]) -> list[str]:
    """A table for `docs/architecture.md`: each module in the order of its first call, and the
    modules that it calls.
    """
    called: dict[str, list[str]] = {}
    for source, target in calls:
        called.setdefault(source, []).append(target.removesuffix(".__init__"))
    lines = ["| module | calls |", "|---|---|"]
    for source, targets in called.items():
        name = source.removesuffix(".__init__")
        lines.append(f"| `{name}` | {', '.join(f'`{one}`' for one in targets)} |")
    return lines


def main() -> None:
    """Print what one erase calls."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    calls = trace()
    once = sum(count for count in calls.values() if count < SAMPLES)
    result: dict[str, object] = {"calls": calls.total(), "once": once, "pairs": len(calls)}
    if "--markdown" in sys.argv:
        print("\n".join(markdown(calls)))
        return
    if "--list" in sys.argv:
        result["list"] = [f"{a} -> {b}: {n}" for (a, b), n in calls.items()]
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
