"""Audits of one network repeat most of their probes: each probe is trained once a session.

`fit_linear` and `fit_mlp` are functions of their arguments, so a test that takes the first result
reads the same numbers. A test that asks for `fresh_fits` trains its own.
"""

import hashlib
import sys

import pytest
import torch

_FITS = {}


def _digest(value):
    if isinstance(value, torch.Tensor):
        raw = value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(raw).hexdigest(), str(value.dtype), tuple(value.shape)
    return repr(value)


def _once(fit):
    def fitted(*args, **settings):
        given = [_digest(value) for value in args]
        named = [(name, _digest(value)) for name, value in sorted(settings.items())]
        key = (fit.__name__, str(given), str(named), torch.get_num_threads())
        if key not in _FITS:
            _FITS[key] = fit(*args, **settings)
        return _FITS[key]

    return fitted


@pytest.fixture(scope="module")
def shared_fits():
    """Let every module that calls a probe's fit take the result of an equal earlier call."""
    from unspan import audit  # noqa: F401 (imports every module that fits a probe)
    from unspan.metrics.linear import fit_linear
    from unspan.metrics.mlp import fit_mlp

    with pytest.MonkeyPatch.context() as patch:
        for fit in (fit_linear, fit_mlp):
            for name, module in list(sys.modules.items()):
                if name.startswith("unspan.") and vars(module).get(fit.__name__) is fit:
                    patch.setattr(module, fit.__name__, _once(fit))
        yield


@pytest.fixture
def fresh_fits(monkeypatch):
    """No earlier result is taken."""
    monkeypatch.setattr(sys.modules[__name__], "_FITS", {})
