"""Remove a class, a person or samples from a trained PyTorch model, and measure what is left.

Say what must go, erase it, and keep the folder that is written:

>>> import tempfile, torch, unspan
>>> from torch.utils.data import TensorDataset
>>> _ = torch.manual_seed(0)
>>> labels = torch.arange(600) % 3
>>> inputs = torch.randn(600, 8) + 6 * torch.eye(3, 8)[labels]
>>> body = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU())
>>> model = torch.nn.Sequential(*body, torch.nn.Linear(16, 3))
>>> optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
>>> for _ in range(100):
...     optimizer.zero_grad()
...     torch.nn.functional.cross_entropy(model(inputs), labels).backward()
...     _ = optimizer.step()

The request holds the samples to forget and the retain set, `TensorDataset` or any other data:

>>> request = unspan.Request.by_class(TensorDataset(inputs, labels), 2)
>>> len(request.forget), len(request.retain)
(200, 400)

`erase` chooses a method, or takes one. The model that is given stays as it is:

>>> deletion = unspan.erase(model, request, unspan.ESC(rank=1), max_drop=None)
>>> deletion.receipt["method"]["name"]
'esc'
>>> named = deletion.model(inputs[labels == 2]).argmax(1)
>>> float((named == 2).float().mean()) < 0.5
True

`features` returns what the layer before the head now gives, `[n, d]`:

>>> unspan.features(deletion.model, inputs[:5]).shape
torch.Size([5, 16])

A saved folder holds the weights and a receipt, and `load` checks one against the other:

>>> with tempfile.TemporaryDirectory() as folder:
...     _ = deletion.save(f"{folder}/erased")
...     again = unspan.load(f"{folder}/erased", model=model)
>>> torch.equal(again(inputs), deletion.model(inputs))
True

Then `audit` says what attackers still recover, `recheck` whether later training brought it back,
`inspect` reads a receipt, and `export` writes ONNX. `apply` carries the deletion into vectors
that the model computed before. Every error is an `UnspanError`.
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

from unspan.system.version import VERSION  # noqa: E402

if TYPE_CHECKING:
    from unspan.artifact import inspect, load
    from unspan.artifact.deletion import Deletion
    from unspan.artifact.exporter import export
    from unspan.auditing.audit import Audit, audit, audit_outputs
    from unspan.data.request import Request
    from unspan.erasure.pipeline import erase
    from unspan.erasure.reading import features
    from unspan.erasure.rechecking import recheck
    from unspan.errors import UnspanError
    from unspan.galleries import apply
    from unspan.methods import ESC
    from unspan.run import Run

_HOME = {
    "Audit": "auditing.audit",
    "Deletion": "artifact.deletion",
    "ESC": "methods",
    "Request": "data.request",
    "Run": "run",
    "UnspanError": "errors",
    "apply": "galleries",
    "audit": "auditing.audit",
    "audit_outputs": "auditing.audit",
    "erase": "erasure.pipeline",
    "export": "artifact.exporter",
    "features": "erasure.reading",
    "inspect": "artifact",
    "load": "artifact",
    "recheck": "erasure.rechecking",
}
# former names, still found
_FORMER = {
    "ESCT": "methods",
    "LinearMap": "erasers",
    "METHODS": "methods",
    "Projection": "erasers",
    "Splits": "data.request",
}
__all__ = sorted(_HOME)  # noqa: PLE0605
__version__ = VERSION


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that `unspan --help` does not wait for torch."""
    home = _HOME.get(name) or _FORMER.get(name)
    if home is None:
        raise AttributeError(f"module 'unspan' has no attribute '{name}'")
    from importlib import import_module

    return getattr(import_module(f"unspan.{home}"), name)


def __dir__() -> list[str]:
    return __all__
