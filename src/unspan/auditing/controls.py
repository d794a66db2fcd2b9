"""The audit tests itself: fakes that it must catch, noise that it must not, and scores that a fake
passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from unspan.audit_record.remarks import Quantity, Remark, RemarkCode, remark
from unspan.audit_record.results import AttackResult, Control, Informative
from unspan.audit_record.vocabulary import RETAINED, Expected, FooledScore, Planted
from unspan.auditing.levels import chance_bound
from unspan.auditing.verdict_rule import ROOM, overall, together
from unspan.metrics.identity import AttackId, AttackKind
from unspan.metrics.linear import fit_linear
from unspan.metrics.outputs import Outputs
from unspan.metrics.probes import CHUNK, names_forgotten, share_reading, stratified
from unspan.metrics.score import Reading

_PERMUTATIONS = 10
_PERMUTED = 10_000  # rows of a probe on permuted labels: more rows would find nothing as well


def head_edit(outputs: Outputs, classes: Sequence[int]) -> Outputs:
    """A fake erasure: the head can no longer name the classes (`b_c = -1e9`), every feature is as
    before.
    """
    if outputs.logits is None:
        return outputs
    logits = outputs.logits.clone()
    logits[:, list(classes)] = -1e9
    return Outputs(
        features=outputs.features, logits=logits, labels=outputs.labels, forget=outputs.forget
    )


def stretched(outputs: Outputs, seed: int) -> Outputs:
    """A fake erasure: features mixed by an invertible linear map that leaves most of them in
    directions of small variance.
    """
    d = outputs.features.shape[1]
    generator = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(d, d, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    )
    mix = left * torch.logspace(0, 4, d, dtype=torch.float64) @ right
    return replace(
        outputs,
        features=torch.cat([(x.double() @ mix).float() for x in outputs.features.split(CHUNK)]),
    )


def hidden(original: Reading, found: Reading) -> Control:
    """Whether the whitened probe still reads features that only were stretched."""
    seen = found.advantage > original.advantage - ROOM / 2
    return Control(Planted.STRETCHED, Expected.CAUGHT, seen, found.attack, _read(found))


def _read(found: Reading) -> Quantity:
    low, high = found.interval()
    return Quantity(value=found.value, low=low, high=high, unit=found.unit, n=len(found.forget))


def fakes(
    original: Sequence[Reading],
    references: Sequence[Sequence[Reading]],
    edited: Sequence[Reading] | None,
    untouched: Sequence[AttackResult] = (),
    *,
    retrained: bool,
    chance: float,
) -> list[Control]:
    """Whether the untouched model and the head-only edit are caught.

    Without retrained networks an edited head cannot be told from an erasure, and an untouched model
    only where it names classes: what cannot be told is not planted.

    Args:
        original: readings of the original; an untouched "erased" model gives the same ones.
        references: as in `overall`.
        edited: readings of the head-only edit, in the same order; None without a head.
        untouched: how further attacks judge the untouched model.
        retrained: as in `overall`.
        chance: likewise.
    """
    planted: list[tuple[Planted, Sequence[Reading], Sequence[AttackResult]]] = []
    names = any(one.identity.kind.names for one in original)
    if retrained or names:
        planted.append((Planted.UNTOUCHED, original, untouched))
    if retrained and edited is not None:
        planted.append((Planted.HEAD_EDIT, edited, ()))
    rows = []
    for case, readings, further in planted:
        decision = overall(original, readings, references, retrained=retrained, chance=chance)
        attacks = [*further, *decision.attacks]
        word = together(attacks)
        control = Control(case, Expected.CAUGHT, word == RETAINED, verdict=word)
        if attacks:
            top = next((one for one in attacks if one.verdict is word), attacks[0])
            control = replace(control, attack=top.attack, read=_erased(top))
        rows.append(control)
    return rows


def _erased(one: AttackResult) -> Quantity:
    return Quantity(
        value=one.erased, low=one.erased_low, high=one.erased_high, unit=one.unit, n=one.n
    )


def permuted(fit: Outputs, test: Outputs, seed: int) -> Reading:
    """What linear probes read that were trained on permuted labels, mean of ten permutations.

    One alone says little: a compact class is given to whichever label chance made its most frequent
    one.
    """
    some = fit.rows(stratified(fit.labels, _PERMUTED, seed)) if len(fit) > _PERMUTED else fit
    each = torch.stack([_permuted(some, test, seed + i) for i in range(_PERMUTATIONS)])
    hit = (each == test.labels).double().mean(0)
    named = names_forgotten(each, test).double().mean(0)
    found = share_reading("linear probe on permuted labels", hit, test, named)
    return replace(found, identity=AttackId(AttackKind.LINEAR_PERMUTED))


def _permuted(fit: Outputs, test: Outputs, seed: int) -> Tensor:
    """`[n]` labels that one such probe reads."""
    labels = fit.labels[torch.randperm(len(fit), generator=torch.Generator().manual_seed(seed))]
    probe = fit_linear(fit.features, labels, fit.classes(), c=(1.0,), seed=seed)
    return probe.predict(test.features)


def noise(
    original: Reading, shuffled: Reading, references: Sequence[Reading], *, retrained: bool
) -> Control:
    """Whether a probe that was trained on permuted labels reads nothing, as it should."""
    found = overall([original], [shuffled], [references], retrained=retrained, chance=0.0)
    caught = found.verdict == RETAINED
    return Control(Planted.PERMUTED, Expected.PASSED, caught, shuffled.attack, _read(shuffled))


def informative(
    own: float | None,
    edited_own: float | None,
    published: float | None,
    converged: float | None,
    reference: float | None,
    classes: int,
    n: int,
) -> list[Informative]:
    """Scores that a fake passes say nothing about what is left.

    Args:
        own: accuracy of the erased model's own head on forgotten samples.
        edited_own: the same for the head-only edit.
        published: accuracy by the published probe, which is not trained to convergence.
        converged: by the converged linear probe.
        reference: by the converged probe in the reference.
        classes: of the model.
        n: forgotten test samples.
    """
    rows = []
    if own is not None and edited_own is not None:
        fooled = edited_own <= chance_bound(classes)
        why = Remark(RemarkCode.FAKE_DOES_NOT_PASS)
        if fooled:
            why = remark(RemarkCode.FAKE_PASSES, read=Quantity(value=edited_own, n=n))
        rows.append(Informative(FooledScore.OWN_HEAD, not fooled, why))
    if published is not None and converged is not None and reference is not None:
        apart = converged - published
        fooled = apart > 0.10
        why = Remark(RemarkCode.PROBE_AGREES)
        if fooled:
            why = remark(RemarkCode.PROBE_STOPPED_EARLY, share=apart)
        rows.append(Informative(FooledScore.PUBLISHED_PROBE, not fooled, why))
    return rows
