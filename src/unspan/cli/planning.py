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
    from unspan.methods import Method, Situation
    from unspan.system.against import Against

_NAMED = ("p", "rank", "energy", "adaptive", "tau", "lr", "epochs")


def implied_method(o: dict[str, Any]) -> str | None:
    """The method that was named, or the one that an option belongs to."""
    if o["method"] is None and o["tau"] is not None:
        return "esc-t"
    if o["method"] is None and (
        o["adaptive"] or any(o[name] is not None for name in ("p", "rank", "energy"))
    ):
        return "esc"
    return o["method"]


def names_statistics(o: dict[str, Any]) -> bool:
    """Whether a setting names statistics that stand for the data to keep."""
    return any(pair.partition("=")[0].strip() == "statistics" for pair in o["settings"] or [])


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


def why(situation: Situation, against: Against | None) -> str:
    """Why this method was chosen, where none was named."""
    from unspan.methods import NegGradPlus

    if against is not None:
        return f" (chosen: the cheapest here that holds against {against})"
    if situation.statistics:
        return " (chosen: statistics stand for the data to keep)"
    if not situation.keeps:
        return " (chosen: only the samples to forget are given)"
    if situation.embeds:
        return " (chosen: the model gives embeddings, and there are samples of others to keep)"
    if situation.classes:
        return " (chosen: a class must go, and there are data to keep)"
    if situation.recommended() is NegGradPlus:
        return (
            " (chosen: it leaves less memory than the others tried, and not none; a class may lose"
            " some points; so retrain where you can; docs/which-method.md)"
        )
    return (
        " (chosen for samples without labels; --method resample leaves less of a group that has"
        " something in common)"
    )


def plan(
    o: dict[str, Any],
    splits: Request,
    settings: Method,
    count: int | None,
    situation: Situation,
    reason: str,
    memory: Remembered | None,
) -> list[tuple[str, Any]]:
    """The rows of the plan.

    Args:
        o: values of the options by name.
        splits: the request.
        settings: the method.
        count: samples to forget, None where that is not known.
        situation: of the request.
        reason: why this method was chosen; empty where it was named.
        memory: what the network remembers of single samples; None where it was not asked.
    """
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
        *_memory(splits, memory),
        ("reads", ", ".join(_read(settings, splits)).replace("_", " ")),
        *_unread(settings, splits),
        ("method", repr(settings) + reason),
        *against_rows(settings, situation),
        ("target", o["target"] or settings.target),
        ("form", o["form"]),
        ("output", o["out"]),
    ]


def _unread(method: Method, request: Request) -> list[tuple[str, str]]:
    """What was given and is not read."""
    if request.holdout is None or not request.classes or "holdout" in _read(method, request):
        return []
    return [("not read", f"the held-out samples: {method.name} does not choose by any")]


def _read(method: Method, request: Request) -> list[str]:
    """Names of the data that a method reads of a request."""
    given = {"holdout"} if request.holdout is not None else set()
    return sorted(method.needs | (method.reads_if_given & given))


def _memory(request: Request, memory: Remembered | None) -> list[tuple[str, str]]:
    """What the network remembers of single samples, or how to learn that."""
    from unspan.erasure.remembering import FEWEST

    if memory is not None:
        return [("memory", memory.with_advice())]
    if request.classes:
        return []
    if request.holdout is None:
        text = "not asked: --holdout SPLIT:SHARE says whether the network knows these samples"
        return [("memory", text)]
    text = f"not told: it takes {FEWEST} labelled samples to forget, and as many held-out ones"
    return [("memory", text + " of their classes")]


def against_rows(method: Method, situation: Situation) -> list[tuple[str, Any]]:
    """Whom a method holds against, and what closes what it leaves open."""
    from unspan.system.against import Against

    seen = {
        Against.OUTPUTS: "one answer to each unaltered input",
        Against.FEATURES: "one answer and its features for each unaltered input",
        Against.QUERIES: "any number of altered copies of an input",
        Against.WEIGHTS: "whoever holds the model",
    }
    held = situation.held_by(type(method))
    rows: list[tuple[str, Any]] = []
    if held is not None:
        rows.append(("against", f"{held}: {seen[held]}"))
    for one in Against:
        if held is not None and held.covers(one):
            continue
        better = situation.method_against(one)
        closed = "nothing we know of holds here"
        if not situation.embeds:
            closed += ": retrain"
        if better is not None:
            closed = f"--against {one} takes {better.name}, which {better.cost}"
        rows.append(("left open", f"{one}: {seen[one]}; {closed}"))
    return rows


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
