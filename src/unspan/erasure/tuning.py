"""Choose the settings of a method: the same number of trials for every method, judged on validation
samples.

Classes: a tenth of the forget and of the retained training data is set aside, by position and
seed, and never given to the method in a trial; the test data play no part. The score of a trial is
the harmonic mean of two shares: the forget samples that are no longer named, and what is kept.
Where there are retained data, that is the accuracy on them (HM of the paper). Where there are none,
it is the share of forget samples whose best class beside the asked ones is still that of the
original.

Single samples: held-out samples that no model was trained on decide. An attack tells the forget
samples from them by the losses, and the model names them. Of AUC and accuracy, each as a share of
what may be off (`AUC_OFF`, `ACCURACY_LOST`), the worse one counts. Nothing else is set aside.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Subset

from unspan.data.indexed import is_indexed
from unspan.data.loading import batches
from unspan.data.request import Request
from unspan.erasure.choosing import default_settings
from unspan.erasure.evaluation import accuracy
from unspan.erasure.pipeline import erase
from unspan.erasure.predictions import Pair, class_scores
from unspan.erasure.reading import pair_of
from unspan.erasure.remembering import FEWEST, read_membership
from unspan.errors import DataError, UnspanError, UsageError
from unspan.extraction import eval_mode
from unspan.methods import Method, configured
from unspan.metrics.retention import harmonic_mean
from unspan.run import Run
from unspan.system.text_enum import TextEnum
from unspan.training.samples import generator

AUC_OFF = 0.05  # from 1/2: an audit takes less for 1/2
ACCURACY_LOST = 0.02  # on unseen samples: the guard's limit for single samples
_SHARE = 10  # one of ten samples is for validation


class Rule(TextEnum):
    """What a trial is judged by, beside the forget samples that are no longer named."""

    BOTH = "both"  # accuracy on retained samples
    FORGET_ONLY = "forget-only"  # the best class beside the asked ones is that of the original
    LIKE_UNSEEN = "like-unseen"  # accuracy on unseen samples, which the forget samples should equal


@dataclass(frozen=True)
class Trial:
    """One try.

    Attributes:
        settings: that were tried, beside the method's defaults.
        forget: accuracy on the forget validation samples; the AUC of the attack on single samples.
            None when the method ended with an error.
        kept: what the rule asks to be kept, in [0, 1].
        score: harmonic mean of `1 - forget` and `kept`, or `like_unseen`; in [0, 1], higher is
            better.
        seconds: of the method.
        rule: what `kept` is, a value of `Rule`.
        error: what ended it.
    """

    settings: dict[str, Any]
    forget: float | None
    kept: float | None
    score: float
    seconds: float
    rule: str
    error: str = ""


def tune(
    model: nn.Module,
    request: Request,
    kind: type[Method],
    trials: int,
    run: Run | None = None,
    given: Mapping[str, Any] | None = None,
    **erasing: Any,
) -> tuple[Any, list[Trial]]:
    """The best settings of a method, and every trial.

    Args:
        model: the original; unchanged.
        request: the request, with labelled samples to forget, and to keep where there are some.
        kind: method class with `search`, the values to choose from.
        trials: how many settings are tried at most; the defaults are always among them.
        run: device, seed, progress.
        given: settings that are not searched.
        erasing: passed to `erase`.

    Raises:
        UsageError: single samples without held-out ones, or a method that needs retained data and
            gets none.
        DataError: too few samples to set some aside, or every trial ended with an error.
    """
    run = run or Run()
    _check(request, kind)
    single = _is_single(request)
    parts = (request, None, None) if single else apart(request, run.seed)
    silent = replace(run, progress=None)
    done: list[Trial] = []
    space = kind.search_single or kind.search if single else kind.search
    fixed = {**(default_settings(kind, request) if single else {}), **(given or {})}
    for number, settings in enumerate(candidates(space, trials, run.seed, given)):
        run.report(f"tuning {kind.name}", number, trials)
        method = configured(kind, fixed | settings)
        done.append(_tried(model, method, settings, parts, silent, erasing))
    best = max(done, key=lambda trial: trial.score)
    if best.score < 0:
        raise DataError(
            f"Every one of {len(done)} trials of {kind.name} ended with an error; the last:"
            f" {done[-1].error}"
        )
    return configured(kind, fixed | best.settings), done


def _tried(
    model: nn.Module,
    method: Method,
    settings: dict[str, Any],
    parts: tuple[Request, Any, Any],
    run: Run,
    erasing: Mapping[str, Any],
) -> Trial:
    """The trial of one method: fitted on what was not set aside, judged on what was."""
    inner, forget, retain = parts
    rule = _rule(inner, forget, retain)
    begun = time.perf_counter()
    try:
        erased = erase(model, inner, method, run, measure=False, **erasing).model
        seconds = round(time.perf_counter() - begun, 2)
        pair = pair_of(model, erased)
        if rule is Rule.LIKE_UNSEEN:
            auc, kept, score = _unseen(pair, inner, run)
            return Trial(settings, auc, kept, score, seconds, rule)
        left = accuracy(pair, forget, "validation", run).after
        kept = (
            _order_kept(pair, forget, inner.classes, run)
            if retain is None
            else accuracy(pair, retain, "validation", run).after
        )
        score = harmonic_mean(100 * left, 100 * kept) / 100
        return Trial(settings, left, kept, score, seconds, rule)
    except UnspanError as error:
        seconds = round(time.perf_counter() - begun, 2)
        return Trial(settings, None, None, -1.0, seconds, rule, str(error))


def _is_single(request: Request) -> bool:
    """Whether single samples are asked for; a person in a model of embeddings has classes or no
    held-out samples.
    """
    return not request.classes and (request.kind == "samples" or request.holdout is not None)


def _rule(request: Request, forget: Any, retain: Any) -> Rule:
    if forget is None:
        return Rule.LIKE_UNSEEN
    return Rule.FORGET_ONLY if retain is None else Rule.BOTH


def _unseen(pair: Pair, request: Request, run: Run) -> tuple[float, float, float]:
    """AUC of the attack, accuracy on unseen samples, and the score.

    Raises:
        DataError: too few labelled samples a side for an attack.
    """
    read = read_membership(pair.erased, request.forget, request.holdout, run)
    if read is None:
        raise DataError(
            "Tuning for single samples compares them with held-out ones of their classes, and there"
            f" are fewer than {FEWEST} labelled samples a side (--holdout)."
        )
    found = accuracy(pair, request.holdout, "held out", run)
    return read.value, found.after, like_unseen(read.value, found.before - found.after)


def like_unseen(auc: float, lost: float) -> float:
    """How well single samples are forgotten, in (0, 1]; 1/2 where the worse of both is at its
    limit.

    Args:
        auc: of telling them from unseen samples; 1/2 is right.
        lost: share of unseen samples that are no longer named rightly, on balance.

    >>> [round(like_unseen(*one), 2) for one in ((0.5, 0.0), (0.45, 0.01), (0.5, 0.04))]
    [1.0, 0.5, 0.33]
    """
    off = max(abs(auc - 0.5) / AUC_OFF, lost / ACCURACY_LOST, 0.0)
    return 1 / (1 + off)


def _check(request: Request, kind: type[Method]) -> None:
    """Refuse what cannot be tuned."""
    if request.kind == "samples" and request.holdout is None:
        raise UsageError(
            "Tuning for single samples compares them with samples like them that no model was"
            " trained on: give some (--holdout SPLIT:SHARE, holdout=), or choose the settings"
            " yourself (--set)."
        )
    if request.retain is not None:
        return
    if "retain" in kind().needs:
        raise UsageError(
            f"Tuning {kind.name} needs data to keep, and the request has none: give the whole data"
            " (--data)."
        )
    if not request.classes and request.holdout is None:
        raise UsageError(
            "Without data to keep, tuning looks at the classes beside the asked ones, and this"
            " request names no class. Give the whole data (--data), or choose the settings"
            " yourself (--set)."
        )


def _order_kept(pair: Pair, data: Any, classes: Sequence[int], run: Run) -> float:
    """Share of samples whose best class beside the asked ones is that of the original."""
    same: list[Tensor] = []
    with eval_mode(pair.original), eval_mode(pair.erased):
        for batch in batches(data, run, shard=False):
            best = []
            for model, layer in pair.sides:
                scores = class_scores(model, layer, batch, "validation")[1].float()
                scores[:, list(classes)] = -torch.inf
                best.append(scores.argmax(1).cpu())
            same.append(best[0] == best[1])
    return float(torch.cat(same).float().mean())


def candidates(
    search: Mapping[str, Sequence[Any]],
    trials: int,
    seed: int,
    given: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """At most `trials` settings: the first of every list, then others of the grid in a random
    order.

    >>> candidates({"a": (1, 2), "b": (3,)}, 5, 0)
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    if trials < 1:
        raise UsageError(f"{trials} trials: use at least one.")
    space = {name: values for name, values in search.items() if name not in (given or {})}
    grid = [dict(zip(space, values, strict=True)) for values in itertools.product(*space.values())]
    order = torch.randperm(len(grid) - 1, generator=generator(seed, "candidates")).tolist()
    return [grid[0], *(grid[1 + place] for place in order)][:trials]


def apart(request: Request, seed: int) -> tuple[Request, Any, Any]:
    """The request without its validation samples, and these: forget and retained ones (None where
    the request has none to keep).
    """
    parts: list[tuple[Any, Any]] = []
    for name, data in (("forget", request.forget), ("retain", request.retain)):
        if name == "retain" and data is None:
            parts.append((None, None))
            continue
        if not is_indexed(data) or len(data) < 2 * _SHARE:
            raise DataError(
                f"Tuning sets a tenth of the {name} data aside and needs a dataset of at least"
                f" {2 * _SHARE} samples."
            )
        order = torch.randperm(len(data), generator=generator(seed, "validation", name)).tolist()
        held = set(order[: len(data) // _SHARE])
        parts.append(
            (
                Subset(data, [i for i in range(len(data)) if i not in held]),
                Subset(data, sorted(held)),
            )
        )
    (forget, forget_held), (retain, retain_held) = parts
    return replace(request, forget=forget, retain=retain), forget_held, retain_held


def rows(trials: list[Trial]) -> list[dict[str, Any]]:
    """JSON rows for a receipt."""
    return [asdict(trial) for trial in trials]
