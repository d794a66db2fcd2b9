"""What is measured of every model in a benchmark: the papers' columns, and the attacks that decide.
Values are in percent unless named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from unspan.auditing.readers import OUTPUTS, OVER_VIEWS, Reader
from unspan.auditing.subjects import subject
from unspan.auditing.views import JUDGED, are_images, some
from unspan.benchmark.attacks import Values, attacks
from unspan.data.loading import batches
from unspan.data.request import Request
from unspan.errors import DataError, UsageError
from unspan.extraction import EqualModules
from unspan.metrics.member_rate import member_rate
from unspan.metrics.membership import loss_attack, losses, published_loss_attack
from unspan.metrics.nearest_rank import nearest_rank
from unspan.metrics.outputs import Outputs
from unspan.metrics.retention import harmonic_mean
from unspan.metrics.rus import rus
from unspan.metrics.score import Score, share_interval
from unspan.metrics.similarity import class_cosine, weight_change
from unspan.metrics.unlearning import aus, nomus, zrf
from unspan.run import Run

VIEWED = 2000  # training samples that are read over ten views
_DRAWN = 20  # most classes of which a figure of cosines can be read


def outputs(
    model: nn.Module, forget: Any, retain: Any, run: Run, reader: Reader = OUTPUTS
) -> Outputs:
    """Features and scores of one model on forget rows, then retain rows.

    Args:
        model: the network.
        forget: samples of the request, or None.
        retain: the others, or None.
        run: device, batch size.
        reader: what is read of a batch.

    Raises:
        DataError: a sample without a label, or the model gives no class scores.
    """
    features, scores, labels, marks = [], [], [], []
    one = None
    for is_forget, data in ((True, forget), (False, retain)):
        for batch in batches(data, run, shard=False) if data is not None and len(data) else ():
            one = one or subject("model", model, batch.inputs)
            z, found = reader.read([one], batch, EqualModules([one.model]))[0]
            if found is None or batch.labels is None:
                raise DataError("A benchmark needs class scores and the label of every sample.")
            features.append(z)
            scores.append(found.flatten(1))
            labels.append(batch.labels)
            marks.append(torch.full((len(batch),), is_forget))
    return Outputs(
        features=torch.cat(features),
        logits=torch.cat(scores),
        labels=torch.cat(labels),
        forget=torch.cat(marks),
    )


def over_views(
    model: nn.Module, forget: Any, splits: Request, run: Run
) -> tuple[Outputs, Outputs] | None:
    """Outputs of some training and some test samples, averaged over ten views of each image; None
    where inputs are no images.

    The training samples hold as large a share of the request as all of them do: an attacker who
    sees more of it than of other classes names it more often, rightly and wrongly.

    Args:
        model: the network.
        forget: all samples that were to be forgotten so far.
        splits: the request, whose other samples are read.
        run: device, batch size.
    """
    if not are_images(next(iter(batches(forget, run))).inputs):
        return None
    own = round(VIEWED * len(forget) / (len(forget) + len(splits.retain)))
    known = outputs(model, some(forget, own), some(splits.retain, VIEWED - own), run, OVER_VIEWS)
    asked, others = some(splits.test_forget, JUDGED[0]), some(splits.test_retain, JUDGED[1])
    return known, outputs(model, asked, others, run, OVER_VIEWS)


def measured(
    fit: Outputs,
    test: Outputs,
    *,
    by_class: bool,
    share: float,
    seed: int,
    views: tuple[Outputs, Outputs] | None = None,
) -> Values:
    """Scores of one model.

    Args:
        fit: outputs on the forget and the retained training samples.
        test: on test samples.
        by_class: the request is of classes, so that probes and test forget accuracy mean something.
        share: of the retained data that are among the fit rows; probes get as small a part of the
            forget samples.
        seed: of probes and attacks.
        views: outputs of some training and some test samples over ten views, for images.
    """
    right = {
        name: part.logits.argmax(1) == part.labels
        for name, part in (("fit", fit), ("test", test))
        if part.logits is not None
    }
    values: Values = {
        "D_f": _share(right["fit"][fit.forget]),
        "D_r": _share(right["fit"][~fit.forget]),
        "D_t": _share(right["test"]),
    }
    values["HM"] = _plain(harmonic_mean(values["D_f"]["value"], values["D_r"]["value"]))
    if by_class:
        values |= {
            "D_ft": _share(right["test"][test.forget]),
            "D_rt": _share(right["test"][~test.forget]),
        }
        values["HM_t"] = _plain(harmonic_mean(values["D_ft"]["value"], values["D_rt"]["value"]))
        values |= attacks(fit, test, share, seed, views)
    unseen = test.rows(test.forget) if by_class else test
    known, other = losses(fit.rows(fit.forget)), losses(unseen)
    values["MIA"] = _score(
        published_loss_attack(known, other, "forget", seed=seed, splits=5 if by_class else 10)
    )
    values["nearest rank"] = _number(nearest_rank(fit, "forget", seed))
    values["MIA (balanced)"] = _score(loss_attack(known, other, "forget", seed=seed)[0])
    narrow = [
        replace(part, features=part.features[:, :0]) for part in (fit, test)
    ]  # scores only: rows of features would be copied
    values["member rate"] = _score(
        member_rate(
            narrow[0].rows(~fit.forget),
            narrow[1].rows(~test.forget),
            narrow[0].rows(fit.forget),
            "forget",
            seed=seed,
        )
    )
    if values["MIA"]["value"] is not None:
        values["NoMUS"] = _plain(
            100 * (nomus(values["D_t"]["value"] / 100, values["MIA"]["value"] / 100).value or 0.0)
        )
    return values


def beside(
    before: Outputs,
    after: Outputs,
    original: nn.Module,
    model: nn.Module,
    head: str | None,
    random: Sequence[Tensor],
    probe: float | None = None,
) -> dict[str, Any]:
    """What figures draw: cosines between classes of both models where there are few, changes of the
    weights, ZRF.

    Args:
        before: test outputs of the original.
        after: test outputs of the model, same rows.
        original: the network itself.
        model: the network itself.
        head: module path of the head.
        random: class scores `[n, C]` of untrained networks on the forget test rows; empty leaves
            ZRF out.
        probe: percent of the forget test rows that a converged probe reads in the model; None
            leaves RUS out, which says nothing without it.
    """
    found: dict[str, Any] = {}
    if probe is not None:
        found["RUS"] = _number(rus(after, before, "original", probe / 100))
    if 0 < int(after.forget.sum()) < len(after):
        found["AUS"] = _number(_aus(before, after))
    classes = before.classes()
    if before.features.shape == after.features.shape and classes <= _DRAWN:
        found["cosines"] = {
            name: [
                [_short(value) for value in row]
                for row in class_cosine(before.features, before.labels, classes, other).tolist()
            ]
            for name, other in (("before", before.features), ("after", after.features))
        }
    try:
        changes = weight_change(original.state_dict(), model.state_dict(), head=head)
        found["weights"] = {
            one.name.removeprefix("weight change: "): [one.value, one.detail["mean_absolute"]]
            for one in changes
        }
    except DataError:
        pass
    rows = after.forget if bool(after.forget.any()) else torch.ones_like(after.forget)
    try:
        if random and after.logits is not None:
            one = zrf(after.logits[rows], random, "test forget")
            found[one.name] = _number(one) | {"unit": "1"}
    except UsageError:
        pass
    return found


def _aus(before: Outputs, after: Outputs) -> Score:
    asked, kept = after.forget, ~after.forget
    return aus(_named(before, kept), _named(after, kept), _named(after, asked))


def _named(one: Outputs, rows: Tensor) -> float:
    """Share of the rows that the model names."""
    assert one.logits is not None
    return float((one.logits.argmax(1) == one.labels)[rows].double().mean())


def embedded(one: Outputs, seed: int, most: int = 800) -> list[list[float]]:
    """t-SNE of at most so many test rows: x, y, class."""
    from sklearn.manifold import TSNE

    rows = torch.randperm(len(one), generator=torch.Generator().manual_seed(seed))[:most]
    x = one.features[rows]
    x = (x - x.mean(0)) / x.std().clamp_min(1e-9)
    found = TSNE(
        random_state=seed, init="pca", perplexity=min(30, max(2, len(rows) // 4))
    ).fit_transform(x.numpy())
    return [
        [round(float(a), 2), round(float(b), 2), int(c)]
        for (a, b), c in zip(found, one.labels[rows], strict=True)
    ]


def _share(hit: Tensor) -> dict[str, Any]:
    n = len(hit)
    if n == 0:
        return {"value": None, "low": None, "high": None, "n": 0}
    low, high = share_interval(float(hit.sum()), n)
    return {"value": 100 * float(hit.double().mean()), "low": 100 * low, "high": 100 * high, "n": n}


def _score(one: Score) -> dict[str, Any]:
    return {
        "value": None if one.value is None else 100 * one.value,
        "low": None if one.low is None else 100 * one.low,
        "high": None if one.high is None else 100 * one.high,
        "n": one.n,
    }


def _number(one: Score) -> dict[str, Any]:
    """A plain number, not in percent."""
    return {"value": one.value, "low": one.low, "high": one.high, "n": one.n}


def _plain(value: float | None) -> dict[str, Any]:
    return {"value": value, "low": None, "high": None, "n": 0}


def _short(value: float) -> float | None:
    return round(value, 4) if value == value else None
