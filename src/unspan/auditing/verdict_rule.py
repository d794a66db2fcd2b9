"""The verdict rule: who can still tell the forgotten samples, compared with networks that never
learned them.

Attacks of one kind of attacker form a family (`AttackId.attacker`). Of each family the strongest
attack counts, in every model its own. Strength is the attacker's advantage over guessing
(`Reading.advantage`): recall minus false positives, or `2 |AUC - 1/2|`.

With retrained networks. O, E and R are the advantages in the original, the erased and the mean
retrained network, and the band is where one more retrained network would lie (`bands.band`).

- BELOW RETRAINED: E is under the band, and less than O by half of `ROOM`. More is hidden than a
  network that never learned would hide.
- RETAINED: E is over the band, and at least `RETAINED_ABOVE` of the way from R to O.
- LIKE RETRAINED: E is inside, and the top of the band is below the midpoint of R and O.
- NOT MEASURABLE: E is inside, nearer to R than to O, and the band is too wide to tell.
- INCONCLUSIVE: anything else.

Without retrained networks only absolute bounds decide.

- RETAINED: the model itself still names the forgotten class more often than chance.
- BELOW RETRAINED: the attacker gains at most `GUESSING` over guessing, with the upper end of his
  interval. No retrained network gives away less than nothing.
- INCONCLUSIVE: anything else.

All families together (`together`): the first of RETAINED, INCONCLUSIVE, BELOW RETRAINED, LIKE
RETRAINED and NOT MEASURABLE that one of them is. BELOW and LIKE RETRAINED need a family that reads
features: who edits the head alone silences the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from unspan.audit_record.remarks import Remark, RemarkCode, Value
from unspan.audit_record.results import Advantage, AttackResult
from unspan.audit_record.vocabulary import (
    BELOW_RETRAINED,
    INCONCLUSIVE,
    LIKE_RETRAINED,
    NOT_MEASURABLE,
    RETAINED,
    Verdict,
)
from unspan.auditing.bands import LEVEL, Band, band, own_variance
from unspan.metrics.identity import Attacker, AttackKind
from unspan.metrics.score import Reading

RETAINED_ABOVE = 0.25  # of the way from the retrained networks to the original
GUESSING = 0.10  # advantage that counts as none
ROOM = 0.10  # smallest advantage of the original that can be lost
_MANY = 100_000  # test samples: nobody has more of one class
BLIND_BELOW = 0.5  # of its accuracy on retained samples in the original
_ORDER = (RETAINED, INCONCLUSIVE, BELOW_RETRAINED, LIKE_RETRAINED, NOT_MEASURABLE)
BELOW = Remark(RemarkCode.LESS_THAN_RETRAINED)
_WIDE = Remark(RemarkCode.BAND_TOO_WIDE)
_MORE = Remark(RemarkCode.MORE_BUT_LITTLE)
_CLOSE = Remark(RemarkCode.BAND_TOO_WIDE_HERE)
_BLIND = Remark(RemarkCode.FAILS_ON_RETAINED)
_NO_REFERENCE = Remark(RemarkCode.ONLY_RETRAINED_TELL)


@dataclass(frozen=True)
class Judged:
    """The word for one family.

    Attributes:
        verdict: the word.
        notes: why, where that needs saying.
        rho: share of the way from the retrained networks to the original; None where there is none.
        half: half of its interval.
        wide: a narrower band would decide.
    """

    verdict: Verdict
    notes: list[Remark] = field(default_factory=list)
    rho: float | None = None
    half: float | None = None
    wide: bool = False


@dataclass(frozen=True)
class Decision:
    """The word for all families, and every attack.

    Attributes:
        verdict: of all families together.
        attacks: those that decide for their family first, by the order of their words.
    """

    verdict: Verdict
    attacks: list[AttackResult]


def overall(
    original: Sequence[Reading],
    erased: Sequence[Reading],
    references: Sequence[Sequence[Reading]],
    *,
    retrained: bool,
    chance: float,
) -> Decision:
    """Judge every family, and all together.

    Args:
        original: readings of the model before, one for each attack.
        erased: of the model after; row i of a reading is the same test sample in all models.
        references: for each attack, the readings of all references.
        retrained: the references were retrained without the data, and can serve as such.
        chance: share up to which the model itself does not name a forgotten class.
    """
    places: dict[Attacker, list[int]] = {}
    for place, one in enumerate(erased):
        places.setdefault(one.identity.attacker, []).append(place)
    blind = _is_blind(original, erased)
    found = []
    for own in places.values():
        before = max((original[place] for place in own), key=_advantage)
        at = max(own, key=lambda place: erased[place].advantage)
        networks = list(zip(*(references[place] for place in own), strict=True))
        never = [max(network, key=_advantage) for network in networks]
        around = None
        if retrained:
            values = [one.advantage for one in never]
            around = band(values, own_variance(networks), len(places))
            judged = judge(before.advantage, erased[at].advantage, around)
            if judged.wide:
                more = _more(before.advantage, around, len(erased[at].forget))
                judged = replace(judged, notes=[*judged.notes, more])
        else:
            judged = judge_alone(erased[at], chance, len(places))
        if blind and judged.verdict in (BELOW_RETRAINED, LIKE_RETRAINED):
            judged = replace(judged, verdict=INCONCLUSIVE, notes=[_BLIND])
        shown = advantages(before, erased[at], never, around)
        for place in own:
            row = row_of(original[place], erased[place], references[place])
            found.append(deciding(row, judged, shown) if place == at else row)
    found.sort(key=_rank)
    return Decision(together(found), found)


def judge(original: float, erased: float, around: Band) -> Judged:
    """The word for one family, with retrained networks.

    Args:
        original: advantage in the original.
        erased: in the erased model.
        around: where one more retrained network would lie.
    """
    apart = original - around.centre
    is_apart = apart >= ROOM and original > around.high
    rho = (erased - around.centre) / apart if is_apart else None
    half = around.half / apart if is_apart else None
    if erased < around.low and erased <= original - ROOM / 2:
        return Judged(BELOW_RETRAINED, [BELOW])
    if erased > around.high:
        if rho is not None and rho >= RETAINED_ABOVE:
            return Judged(RETAINED, [], rho, half)
        return Judged(INCONCLUSIVE, [_MORE], rho, half)
    if not is_apart:
        return Judged(NOT_MEASURABLE, [_WIDE], wide=True)
    middle = around.centre + apart / 2
    if around.high < middle:
        return Judged(LIKE_RETRAINED, [], rho, half)
    if erased > middle:
        return Judged(INCONCLUSIVE, [_CLOSE], rho, half, wide=True)
    return Judged(NOT_MEASURABLE, [_WIDE], rho, half, wide=True)


def _more(original: float, around: Band, samples: int) -> Remark:
    """What would narrow the band to half of the way to the original."""
    half = (original - around.centre) / 2
    enough = around.samples_for(half, samples) if half > 0 else None
    networks = around.networks_for(half) if half > 0 else None
    by_samples: dict[str, Value] = {}
    if enough is not None and enough <= _MANY:
        by_samples = {"samples": enough, "tested": samples}
    by_networks: dict[str, Value] = {}
    if networks is not None:
        by_networks = {"networks": networks, "given": around.networks}
    code = {
        (True, True): RemarkCode.EITHER_WOULD_DECIDE,
        (True, False): RemarkCode.SAMPLES_WOULD_DECIDE,
        (False, True): RemarkCode.NETWORKS_WOULD_DECIDE,
        (False, False): RemarkCode.NOTHING_WOULD_DECIDE,
    }[bool(by_samples), bool(by_networks)]
    return Remark(code, by_samples | by_networks)


def judge_alone(erased: Reading, chance: float, families: int) -> Judged:
    """The word for one family, by absolute bounds.

    Args:
        erased: the strongest attack on the erased model.
        chance: share up to which the model itself does not name a forgotten class.
        families: how many are judged; the intervals are widened for them.
    """
    low, high = erased.interval(1 - LEVEL / families)
    if erased.identity.kind.names and low > chance:
        return Judged(RETAINED, [Remark(RemarkCode.STILL_NAMED)])
    if erased.unit == "AUC":
        most = 2 * max(high - 0.5, 0.5 - low)
    else:
        most = high - (erased.false_positives or 0.0)
    if most <= GUESSING:
        return Judged(BELOW_RETRAINED, [Remark(RemarkCode.NO_MORE_THAN_GUESSING)])
    return Judged(INCONCLUSIVE, [_NO_REFERENCE])


def together(attacks: Sequence[AttackResult]) -> Verdict:
    """The word for all families."""
    words = {one.verdict for one in attacks}
    word = next((one for one in _ORDER if one in words), NOT_MEASURABLE)
    of_features = {
        one.verdict for one in attacks if not one.identity.attacker.family.sees_the_head_only
    }
    if word.erased and not of_features & {BELOW_RETRAINED, LIKE_RETRAINED}:
        return INCONCLUSIVE
    return word


def _advantage(one: Reading) -> float:
    return one.advantage


def _is_blind(original: Sequence[Reading], erased: Sequence[Reading]) -> bool:
    """Whether the converged linear probe lost most of its accuracy on retained samples: the
    features were made useless, or it was starved.
    """
    for before, after in zip(original, erased, strict=True):
        if after.identity.kind is AttackKind.LINEAR and before.retain is not None:
            return after.retain is not None and after.retain < BLIND_BELOW * before.retain
    return False


def advantages(
    before: Reading, after: Reading, never: Sequence[Reading], around: Band | None
) -> Advantage:
    """What one kind of attacker gains, by model."""
    return Advantage(
        original=before.advantage,
        erased=after.advantage,
        reference=sum(map(_advantage, never)) / len(never) if never else None,
        low=None if around is None else around.low,
        high=None if around is None else around.high,
        freedom=None if around is None else around.freedom,
        strongest_before=before.attack,
    )


def row_of(original: Reading, erased: Reading, references: Sequence[Reading]) -> AttackResult:
    """The row of an attack, before anything is decided."""
    low, high = erased.interval()
    original_low, original_high = original.interval()
    known = [one.value for one in references]
    around = [one.interval() for one in references]
    return AttackResult(
        attack=erased.attack,
        identity=erased.identity,
        unit=erased.unit,
        n=len(erased.forget),
        original=original.value,
        erased=erased.value,
        erased_low=low,
        erased_high=high,
        reference=sum(known) / len(known) if known else None,
        false_positives=erased.false_positives,
        retain=erased.retain,
        original_low=original_low,
        original_high=original_high,
        reference_low=min((ends[0] for ends in around), default=None),
        reference_high=max((ends[1] for ends in around), default=None),
    )


def deciding(row: AttackResult, judged: Judged, advantage: Advantage) -> AttackResult:
    """The row of the attack that decides for its family."""
    rho, half = judged.rho, judged.half
    low = high = None
    if rho is not None and half is not None:
        low, high = rho - half, rho + half
    return replace(
        row,
        verdict=judged.verdict,
        notes=judged.notes,
        rho=rho,
        rho_low=low,
        rho_high=high,
        advantage=advantage,
    )


def _rank(one: AttackResult) -> tuple[int, float]:
    """Attacks that decide come first, by the order of their words, the strongest first."""
    place = len(_ORDER) if one.verdict is None else _ORDER.index(one.verdict)
    return place, -(one.erased if one.advantage is None else one.advantage.erased)
