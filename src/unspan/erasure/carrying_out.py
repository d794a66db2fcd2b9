"""Call a method, which may be code of the user, and refuse what is no result, with its file."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from unspan.errors import UsageError
from unspan.methods import EraserMethod, Fit, FitContext, Method, Outcome, TrainedMethod
from unspan.training.context import TrainingContext

_Result = TypeVar("_Result", Fit, Outcome)


def fitted(method: EraserMethod, context: FitContext) -> Fit:
    """What `fit` returns.

    Raises:
        UsageError: no `Fit`, or one that no receipt can hold.
    """
    return _checked(method, "fit", Fit, lambda: method.fit(context))


def unlearned(method: TrainedMethod, context: TrainingContext) -> Outcome:
    """What `unlearn` returns.

    Raises:
        UsageError: no `Outcome`, or one that no receipt can hold.
    """
    return _checked(method, "unlearn", Outcome, lambda: method.unlearn(context))


def _checked(method: Method, name: str, kind: type[_Result], call: Callable[[], Any]) -> _Result:
    where = f"{_file_of(method)}: {type(method).__name__}.{name}"
    found = call()
    if not isinstance(found, kind):
        raise UsageError(
            f"{where} must return {kind.__name__}(...) of unspan.methods, and it returned"
            f" {found!r:.80} ({type(found).__name__})."
        )
    if not isinstance(found.report, dict) or isinstance(found.warnings, str):
        raise UsageError(
            f"{where}: {kind.__name__} takes a dict as report and a tuple of texts as warnings, and"
            f" it got report={found.report!r:.80} and warnings={found.warnings!r:.80}."
        )
    try:
        json.dumps([found.report, list(found.warnings)])
    except (TypeError, ValueError) as error:
        raise UsageError(
            f"{where}: the receipt is JSON, and the report of {kind.__name__} is not ({error})."
            " Give numbers, texts, lists and dicts, for example float(x) for a tensor x."
        ) from error
    return found


def _file_of(method: Method) -> str:
    file = sys.modules[type(method).__module__].__dict__.get("__file__")
    return type(method).__module__ if file is None else Path(file).name
