"""Other people's packages: imported when a model asks for them, and kept from writing to the
terminal.
"""

from __future__ import annotations

import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from types import ModuleType

from unspan.errors import UsageError


def require(package: str) -> ModuleType:
    """Import an optional package; UsageError names what to install where that fails."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f"{package} is not installed: pip install 'unspan[{package}]'") from error
    except RuntimeError as error:
        raise UsageError(
            f"{package} cannot be imported ({' '.join(str(error).split())[:200]}): a torchvision"
            " of another torch, most often. Install a matching pair: pip install --upgrade torch"
            " torchvision"
        ) from error


def is_sentence_transformer(model: object) -> bool:
    """Whether a model is a `SentenceTransformer`.

    The library is not imported: where nobody imported it, no model is one of its own.
    """
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(model, library.SentenceTransformer)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence progress bars, log lines below errors and warnings of other libraries."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
