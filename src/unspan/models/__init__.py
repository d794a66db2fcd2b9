"""Build a model from one line of text, and load its weights from safetensors only: nothing in a
file is executed.
"""

from __future__ import annotations

from pathlib import Path

from unspan.errors import UsageError
from unspan.models import hf, sentences
from unspan.models.libraries import quiet
from unspan.models.loaded import Loaded, check_usable, classes_of, stated_classes
from unspan.models.recipes import rebuild, recipe_of, runs_user_code
from unspan.models.safetensors_files import check_state, read_safetensors
from unspan.models.sources import FORMS, SOURCES, from_source
from unspan.models.weights import load_weights, match_dtypes
from unspan.system.user_code import user_object

__all__ = [
    "Loaded",
    "build",
    "check_name",
    "check_state",
    "check_usable",
    "classes_of",
    "stated_classes",
    "load_weights",
    "match_dtypes",
    "quiet",
    "read_safetensors",
    "rebuild",
    "recipe_of",
    "runs_user_code",
]


def build(spec: str, *, weights: Path | None = None, num_classes: int | None = None) -> Loaded:
    """Build a model and load its weights.

    `python:` specs import and run the code they name, with the current directory importable: use
    only code you trust.

    Args:
        spec: `timm:NAME`, `torchvision:NAME`, `transformers:FOLDER_OR_HUB_ID`,
            `sentence-transformers:FOLDER_OR_HUB_ID` or `python:MODULE_OR_FILE:FACTORY`.
        weights: A safetensors file (or its `*.index.json`); without it the published weights are
            used, which may be downloaded, those in the transformers folder, or those that the
            factory loads itself.
        num_classes: Outputs of the classifier; inferred from `weights` when not given.

    Raises:
        UsageError: A spec, name or package that does not exist, or no weights.
        ModelError: Weights that do not fit, or a model that cannot be used as it is.
        UnsafeFileError: Weights that are not safetensors.
    """
    kind, _, name = spec.partition(":")
    if kind == "transformers" and name:
        loaded = hf.from_folder(name, weights, num_classes)
    elif kind == sentences.KIND and name:
        loaded = sentences.from_folder(name, weights, num_classes)
    elif kind in SOURCES and name:
        loaded = from_source(spec, weights, num_classes)
    else:
        raise UsageError(f"{spec!r} names no model; {FORMS}")
    check_usable(loaded.model)
    loaded.model.eval()
    return loaded


def check_name(spec: str) -> None:
    """Refuse a model that there is not, without building it; the code of a `python:` spec is
    imported.

    Args:
        spec: as for `build`; whether a folder or hub id of transformers is there, `build` says.

    Raises:
        UsageError: a spec, name or package that does not exist.
    """
    kind, _, name = spec.partition(":")
    if not name or kind not in (*SOURCES, "transformers", sentences.KIND):
        raise UsageError(f"{spec!r} names no model; {FORMS}")
    if kind in SOURCES:
        SOURCES[kind](name)
    if kind == "python":
        user_object(spec, "factory")
