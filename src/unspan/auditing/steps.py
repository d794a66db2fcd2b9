"""The steps of an audit, as it reports them: models × splits × attacks."""

from __future__ import annotations

from collections.abc import Sequence

from unspan.system.steps import Step
from unspan.system.text_enum import TextEnum


class Work(TextEnum):
    """What a step of an audit does; on each model it takes about as long."""

    OUTPUTS = "outputs"
    LINEAR = "linear probes"
    NEIGHBOURS = "nearest neighbours"
    MLP = "MLP probe"
    FEW_SHOT = "few-shot relearning"
    SIGNATURE = "output signature"
    VIEWS = "altered copies"
    VIEWS_OUTPUTS = "outputs of altered copies"
    LAYERS_OUTPUTS = "outputs of earlier layers"
    LAYERS = "earlier layers"
    SCORES = "other scores"
    UNTRAINED = "three untrained networks"
    STABILITY = "noise"
    SAMPLES = "single samples"
    STRETCHED = "self-test, stretched features"
    PERMUTED = "self-test, permuted labels"
    FIGURES = "figures"


# weights: seconds of a small network on 60,000 images, where passes take longest
KNOWN = Step(Work.OUTPUTS, "known data", 200)
JUDGED = Step(Work.OUTPUTS, "test data", 40)
KNOWN_VIEWS = Step(Work.VIEWS_OUTPUTS, "known data", 40)
JUDGED_VIEWS = Step(Work.VIEWS_OUTPUTS, "test data", 20)
LAYERS_KNOWN = Step(Work.LAYERS_OUTPUTS, "known data", 20)
LAYERS_JUDGED = Step(Work.LAYERS_OUTPUTS, "test data", 10)
_WEIGHT = 5  # of every other step
_ON_CLASS = (Work.LINEAR, Work.NEIGHBOURS, Work.MLP, Work.FEW_SHOT, Work.SIGNATURE)
_ON_GROUP = (Work.LINEAR, Work.SIGNATURE)
_SHOWN = {"before": "original", "after": "erased model"}


def step(work: Work, model: str = "") -> Step:
    """A step on a model, which is named as people name it."""
    return Step(work, _SHOWN.get(model, model), _WEIGHT)


def planned(
    names: Sequence[str],
    networks: Sequence[str],
    *,
    by_class: bool,
    retrained: bool,
    images: bool,
    models: bool = True,
) -> tuple[Step, ...]:
    """All steps of an audit, in order. One that turns out to have nothing to do is left out.

    Args:
        names: of everything with outputs: original, erased model, references.
        networks: those of them that are networks.
        by_class: the request is a class.
        retrained: the references were retrained without the forgotten data.
        images: the inputs are images, of which there are altered copies.
        models: the networks are here, not their outputs alone.
    """
    attacks = _ON_CLASS if by_class else _ON_GROUP
    return (
        *((KNOWN, JUDGED) if models else ()),
        *((KNOWN_VIEWS, JUDGED_VIEWS) if images else ()),
        *(one for name in names for one in _attacks_on(name, attacks, images and name in networks)),
        *((LAYERS_KNOWN, LAYERS_JUDGED) if models else ()),
        *(step(Work.LAYERS, name) for name in networks if models),
        *(step(Work.SCORES, name) for name in networks),
        *((step(Work.UNTRAINED), step(Work.STABILITY)) if models else ()),
        *((step(Work.SAMPLES),) if retrained else ()),
        *((step(Work.STRETCHED), step(Work.PERMUTED)) if by_class else ()),
        step(Work.FIGURES),
    )


def _attacks_on(name: str, attacks: Sequence[Work], images: bool) -> list[Step]:
    every = [*attacks, Work.VIEWS] if images else attacks
    return [step(work, name) for work in every]
