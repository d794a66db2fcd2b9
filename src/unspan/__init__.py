"""unspan: erase a class, a person or samples from a trained PyTorch model, and say what is left.

    import unspan
    data = unspan.Splits.by_class(dataset, "cat")      # the request
    deletion = unspan.erase(model, data)               # resample where there are data to keep, else
    ESC deletion.save("erased/")                           # model.safetensors, receipt.json,
    README.md

>>> import torch, unspan
>>> torch.manual_seed(0) and None
>>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
>>> forget = torch.randn(30, 4)
>>> deletion = unspan.erase(model, forget, unspan.ESC(rank=1))
>>> deletion.receipt["method"]["fit"]["rank"]
1
>>> z = unspan.features(deletion.model, forget)        # what a feature API now returns
>>> float((z @ deletion.eraser.basis.float()).abs().max()) < 1e-5
True
"""

import os
import sys

if sys.platform == "win32":
    raise ImportError(
        "unspan does not run on Windows, where folders cannot be saved safely. "
        "Use Linux, macOS or the Windows Subsystem for Linux."
    )

# `python -m unspan` puts the working directory first on the path: it is taken off before anything
# is imported that a file there could stand in for
_as_command = sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)].endswith("unspan")
if _as_command and sys.path[:1] in ([""], [os.getcwd()]):
    del sys.path[0]

from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from unspan.artifact import inspect, load
    from unspan.artifact.deletion import Deletion
    from unspan.artifact.exporter import export
    from unspan.auditing.audit import Audit, audit
    from unspan.data.request import Splits
    from unspan.erasers import LinearMap, Projection
    from unspan.erasure.pipeline import erase
    from unspan.erasure.reading import features
    from unspan.erasure.rechecking import recheck
    from unspan.errors import UnspanError
    from unspan.methods import ESC, ESCT, METHODS
    from unspan.run import Run

_HOME = {
    "Audit": "auditing.audit",
    "audit": "auditing.audit",
    "Deletion": "artifact.deletion",
    "ESC": "methods",
    "ESCT": "methods",
    "LinearMap": "erasers",
    "METHODS": "methods",
    "Projection": "erasers",
    "Run": "run",
    "Splits": "data.request",
    "UnspanError": "errors",
    "erase": "erasure.pipeline",
    "export": "artifact.exporter",
    "features": "erasure.reading",
    "inspect": "artifact",
    "load": "artifact",
    "recheck": "erasure.rechecking",
}
__all__ = sorted(_HOME)  # noqa: PLE0605
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `unspan --help` does not wait for torch."""
    if name not in _HOME:
        raise AttributeError(f"module 'unspan' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"unspan.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
