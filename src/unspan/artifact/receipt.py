"""Receipts: what was asked, what was done, to which weights; plain JSON, no sample and no sample
hash in it.
"""

from __future__ import annotations

import hashlib
import hmac
import platform
import secrets
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch

from unspan.errors import UsageError
from unspan.sealing.canonical import canonical
from unspan.system.version import VERSION

SHORTEST_KEY = 16  # bytes; shorter keys can be tried one after the other
_SHA256 = np.dtype("S32")

_WEIGHTS = (
    "against whoever holds the weights: the eraser can be removed and the layers before it are"
    " unchanged"
)
PROTECTS = {  # by the form, or by the eraser where it is not affine
    "resampler": {
        "protects": [
            (
                "users of scores, as far as the measured accuracies show (nothing is claimed where"
                " none were measured)"
            ),
            (
                "users of features through the access paths listed as erased, as long as they get"
                " one answer to each unaltered image: what the gate recognises looks like other"
                " samples there; what probes read of other data sets is in docs/resample.md; not"
                " measured here (unspan audit)"
            ),
        ],
        "does_not_protect": [
            (
                "samples that the gate does not recognise (of a class: those that the model takes"
                " for another one): they pass unchanged"
            ),
            (
                "against whoever asks for the same image again, mirrored, shifted or with much"
                " noise, and compares the answers: what is forgotten changes more, and probes"
                " trained on pairs of answers read most of a class again (docs/resample.md);"
                " after bake, there, no more than of a network that never saw the class"
            ),
            (
                "against whoever alters images, as by halving the contrast: the map is fitted on"
                " unaltered ones, and a single answer says more then (docs/resample.md)"
            ),
            (
                "against attacks that were not tried; those that were, and what they read of other"
                " data sets, are in docs/resample.md"
            ),
            (
                "against whoever knows the original features of some samples: about d of them for"
                " each cluster give the map away, but for the noise"
            ),
            _WEIGHTS,
            (
                "against whoever reads this folder: the stored maps describe what was erased, and"
                " the classes it goes to"
            ),
        ],
    },
    "redrawer": {
        "protects": [
            (
                "users of embeddings through the access paths listed as erased, as long as they get"
                " one answer to each unaltered sample: what the gate recognises looks like somebody"
                " unknown there; what is left of other data sets is in docs/which-method.md; not"
                " measured here (unspan audit)"
            ),
        ],
        "does_not_protect": [
            "samples that the gate does not recognise: they pass unchanged",
            (
                "against whoever asks with altered copies of a sample, mirrored or cropped, and"
                " compares the answers: those of what was erased part"
            ),
            (
                "against whoever finds two samples of a person less alike than those of strangers:"
                " that is a trace"
            ),
            "against attacks that were not tried",
            _WEIGHTS,
            "against whoever reads this folder: the stored gate recognises who was erased",
        ],
    },
    "logit-margin": {
        "protects": [
            (
                "users of scores, as far as the measured accuracies show (nothing is claimed where"
                " none were measured)"
            ),
            (
                "users of features through the access paths listed as erased: they get the best"
                " remaining class and its margin, and nothing else of any sample"
            ),
        ],
        "does_not_protect": [
            (
                "other uses of the features: they say no more than the scores do, for the data to"
                " keep as well"
            ),
            (
                "samples that the gate does not recognise: those that the model takes for another"
                " class"
            ),
            (
                "against whoever asks for the same image again, mirrored or otherwise altered, and"
                " compares the answers: probes trained on pairs read about half of a class again"
                " (42 % on CIFAR-10, docs/resample.md)"
            ),
            (
                "against attacks that were not tried; those that were, and what they read of other"
                " data sets, are in docs/resample.md"
            ),
            _WEIGHTS,
            "against whoever reads this folder: the stored gate describes what was erased",
        ],
    },
    "projected": {
        "protects": [
            (
                "users of scores, as far as the measured accuracies show (nothing is claimed where"
                " none were measured)"
            ),
            (
                "users of features through the access paths listed as erased: they get projected"
                " features"
            ),
        ],
        "does_not_protect": [
            (
                "against a probe trained to convergence on the projected features: not measured"
                " here; on CIFAR-10 it reads a class erased by ESC almost as before (unspan README)"
            ),
            _WEIGHTS,
            "against whoever reads this folder: the stored directions describe what was erased",
        ],
    },
    "trained": {
        "protects": [
            "users of scores, as far as the measured accuracies show (nothing is claimed where none"
            " were measured)"
        ],
        "does_not_protect": [
            (
                "users of features: what a probe still reads of them was not measured here (unspan"
                " audit)"
            ),
            (
                "against whoever holds the original weights as well: the difference of both models"
                " tells what was asked"
            ),
        ],
    },
    "folded": {
        "protects": [
            "users of scores, as far as the measured accuracies show (nothing is claimed where none"
            " were measured)"
        ],
        "does_not_protect": [
            "users of features: every embedding is the original one",
            (
                "against whoever holds the weights: a new head on the unchanged features reads the"
                " class again"
            ),
        ],
    },
}


def protects(form: str, eraser: str | None) -> dict[str, list[str]]:
    """What a deletion protects, and what it does not; that of the latest eraser where it is not
    affine.
    """
    last = (eraser or "").rpartition("+")[2]
    return PROTECTS[last if last in PROTECTS else form]


def new_key() -> bytes:
    """A random key for request commitments."""
    return secrets.token_bytes(32)


def check_key(key: bytes) -> bytes:
    """The key, or a UsageError where it is short enough to be guessed."""
    if not isinstance(key, bytes) or len(key) < SHORTEST_KEY:
        size = f"{len(key)} bytes" if isinstance(key, bytes) else type(key).__name__
        raise UsageError(
            f"The key has {size}; use at least {SHORTEST_KEY} random bytes, for example"
            " secrets.token_bytes(32)."
        )
    return key


def commitment(digests: bytes | bytearray, key: bytes) -> str:
    """Keyed commitment to a set of samples, independent of their order.

    Without the key nobody can test whether a known photo was in the request; with it, anyone who
    has the samples can.

    Args:
        digests: sha256 of each sample, 32 bytes after 32 bytes.
        key: secret.
    """
    return (
        "hmac-sha256:"
        + hmac.new(
            key, np.sort(np.frombuffer(digests, _SHA256)).tobytes(), hashlib.sha256
        ).hexdigest()
    )


def distinct(digests: bytes | bytearray) -> int:
    """How many of the samples differ; `digests` as in `commitment`."""
    return len(np.unique(np.frombuffer(digests, _SHA256)))


def number(receipt: Mapping[str, Any]) -> str:
    """The number of a deletion: the first eight digits of the sha256 of its receipt.

    A folder adds to the receipt, so its deletion has the number of receipt.json there.
    """
    return hashlib.sha256(canonical(receipt).encode()).hexdigest()[:8]


def now() -> str:
    """UTC time, to the second."""
    return datetime.now(timezone.utc).replace(microsecond=0).isoformat()


def versions() -> dict[str, str]:
    """Library versions that can change a result."""
    found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "unspan": VERSION,  # also of a checkout that is not installed
    }
    for package in (
        "numpy",
        "safetensors",
        "timm",
        "torchvision",
        "transformers",
        "datasets",
        "scikit-learn",
        "matplotlib",
    ):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
