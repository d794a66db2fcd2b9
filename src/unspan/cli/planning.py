"""What `unspan erase` is about to do: the method that the options name, its settings, the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unspan.errors import UsageError

if TYPE_CHECKING:
    from unspan.data.request import Request
    from unspan.erasure.guard import MaxDrop
    from unspan.erasure.remembering import Remembered

_NAMED = ("p", "rank", "energy", "adaptive", "tau", "lr", "epochs")


def implied_method(o: dict[str, Any]) -> str | None:
    """The method that was named, or the one that an option belongs to."""
    if o["method"] is None and o["tau"] is not None:
        return "esc-t"
    if o["method"] is None and any(
        pair.partition("=")[0].strip() == "statistics" for pair in o["settings"] or []
    ):
        return "resample"
    if o["method"] is None and (
        o["adaptive"] or any(o[name] is not None for name in ("p", "rank", "energy"))
    ):
        return "esc"
    return o["method"]


def method_of(o: dict[str, Any], defaults: Mapping[str, Any] | None = None) -> Any:
    """The method of `--method` with its settings.

    Args:
        o: values of the options by name.
        defaults: settings where none are given, instead of those of the method.
    """
    from unspan.cli.settings import settings
    from unspan.methods import by_name, configured

    values, said = settings({name: o[name] for name in _NAMED}, o["settings"])
    return configured(by_name(o["method"]), {**(defaults or {}), **values}, said)


def tuned(
    o: dict[str, Any], model: Any, splits: Request, run: Any
) -> tuple[Any, list[dict[str, Any]]]:
    """The best settings of --tune trials, and the trials."""
    from unspan.cli.settings import settings
    from unspan.erasure.tuning import rows, tune
    from unspan.methods import by_name

    values, _ = settings({name: o[name] for name in _NAMED}, o["settings"])
    method, trials = tune(
        model,
        splits,
        by_name(o["method"]),
        o["tune"],
        run,
        values,
        feature_layer=o["feature_layer"],
        pool=o["pool"],
        check_labels=o["check_labels"],
    )
    return method, rows(trials)


def why(method: Any, splits: Request) -> str:
    """Why this method was chosen, where none was named."""
    from unspan.methods import Resample

    if isinstance(method, Resample) and method.statistics != "retain":
        kept = "the statistics"
        if method.statistics == "head":
            kept = "nothing but the head, and features keep only the answer"
        return f" (chosen: a class must go; of the data to keep it has {kept})"
    if method.name == "resample":
        return (
            " (chosen: a class must go, and there are data to keep; --method bake where users can"
            " ask for altered copies of an image)"
        )
    if method.name == "neggrad-plus":
        return (
            " (chosen: of the methods tried it alone came near retrained networks in membership; a"
            " class may lose more than 2 points, so retrain where you can; docs/which-method.md)"
        )
    if method.name == "redraw":
        return (
            " (chosen: the model gives embeddings, and there are samples of others to keep; whoever"
            " asks twice with an altered copy, or holds the weights, is not held off)"
        )
    if not splits.classes and splits.retain is not None:
        return (
            " (chosen for single samples; --method resample leaves less of a person or another"
            " group that has something in common)"
        )
    return " (chosen: resample needs classes and data to keep; see --method)"


def plan(
    o: dict[str, Any],
    splits: Request,
    settings: Any,
    count: int | None,
    why: str,
    memory: Remembered | None,
) -> list[tuple[str, Any]]:
    """The rows of the plan: model, data, request, what is remembered, method, form, output."""
    from unspan.methods import EraserMethod

    return [
        ("model", o["model"]),
        ("data", o["data"]),
        (
            "forget",
            (
                f"{splits.kind}: {', '.join(splits.selector)}"
                f" ({count if count is not None else 'unknown number of'}"
                f" samples{', one forward pass' if isinstance(settings, EraserMethod) else ''})"
            ),
        ),
        *([] if memory is None else [("memory", memory.with_advice())]),
        ("reads", ", ".join(sorted(settings.needs)).replace("_", " ")),
        ("method", repr(settings) + why),
        ("target", o["target"] or settings.target),
        ("form", o["form"]),
        ("output", o["out"]),
    ]


def max_drop_of(text: str | None) -> MaxDrop:
    """The limit of --max-drop; its range is checked where it is used."""
    if text is None:
        return "default"
    if text == "none":
        return None
    from unspan.erasure.guard import limit_of

    try:
        return limit_of(float(text), "class")
    except ValueError as error:
        raise UsageError(f"--max-drop {text}: give points, for example 2, or none.") from error


def key_of(path: Path | None) -> bytes | None:
    """The secret of `--key-file`, checked."""
    if path is None:
        return None
    from unspan.artifact.receipt import check_key

    try:
        key = path.read_bytes()
    except OSError as error:
        raise UsageError(f"--key-file {path} cannot be read: {error.strerror}.") from error
    return check_key(key)


def refuse_unused_preprocessing(o: dict[str, Any]) -> None:
    """Refuse `--size`, `--mean` and `--std` where a factory prepares the samples itself."""
    own = [name for name in ("size", "mean", "std") if o[name] is not None]
    if own and o["data"].startswith("python:"):
        raise UsageError(
            f"--{own[0]} does not reach {o['data']}: your factory prepares its samples itself."
            " Leave it out."
        )
