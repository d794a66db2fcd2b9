"""Several audits side by side: what they share, what each found, and in which order they come.

Audits are ranked only where they answer the same question: the same request, data, original,
retrained references and rule. Otherwise it is said what differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unspan.audit_record.record import AuditRecord
from unspan.audit_record.results import AttackResult
from unspan.audit_record.summary import Cost
from unspan.audit_record.vocabulary import Level, ReferenceKind, Verdict
from unspan.report.agreement import NEEDED, Shared, in_common
from unspan.system.schemas import COMPARISON

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST = len(_LETTERS)  # audits in one comparison


@dataclass(frozen=True, kw_only=True)
class Given:
    """An audit that is compared.

    Attributes:
        name: of its folder.
        record: what it says.
        intact: the seal of the file fits what it holds.
    """

    name: str
    record: AuditRecord
    intact: bool


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What one kind of attacker gains over guessing; 0 is guessing, 1 is always right.

    Attributes:
        attacker: in words.
        attack: the strongest of this kind in the erased model.
        verdict: the word for this kind of attacker.
        before: in the original.
        now: in the erased model, with 95 % interval `low` to `high`.
        retrained: mean over the references, None where there is none.
        false_positives: share of retained samples taken for forgotten ones, None for an AUC.
        n: forgotten test samples.
    """

    attacker: str
    attack: str
    verdict: Verdict
    before: float
    now: float
    low: float
    high: float
    retrained: float | None
    false_positives: float | None
    n: int

    @property
    def beyond(self) -> float:
        """What is gained beyond a retrained network."""
        return self.now - (self.retrained or 0.0)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one audit found.

    Attributes:
        letter: that stands for it on the page.
        name: of its folder.
        method: that erased, empty where the model does not say.
        created: when the audit ran.
        model: sha256 of the audited model.
        verdict: the word for all attackers together.
        trusted: every self-test did what it should, and the reference can serve as one.
        intact: the file is as it was written.
        levels: that hold.
        gains: by kind of attacker, the one that decides first.
        cost: None where it was not measured.
        place: 1 for the least that is read beyond retrained networks. Audits whose intervals
            overlap share a place. None where nothing is ranked.
    """

    letter: str
    name: str
    method: str
    created: str
    model: str
    verdict: Verdict
    trusted: bool
    intact: bool
    levels: list[Level]
    gains: list[Gain]
    cost: Cost | None
    place: int | None = None

    @property
    def decides(self) -> Gain | None:
        """The attacker that the verdict rests on."""
        return self.gains[0] if self.gains else None

    @property
    def furthest(self) -> Gain | None:
        """The attacker who gains most beyond retrained networks."""
        return max(self.gains, key=lambda one: one.beyond, default=None)

    @property
    def false_positives(self) -> Gain | None:
        """The strongest attacker whose false positives were counted; an AUC has none."""
        counted = [one for one in self.gains if one.false_positives is not None]
        return max(counted, key=lambda one: one.now, default=None)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Audits side by side.

    Attributes:
        schema: name and version of the JSON form.
        audits: in the order in which they were given.
        shared: what they agree in.
        refused: why they are not ranked; none where they are.
    """

    schema: str
    audits: list[Outcome]
    shared: list[Shared]
    refused: list[str]

    @property
    def ranked(self) -> bool:
        """Whether the audits have places."""
        return not self.refused


def compared(given: Sequence[Given]) -> Comparison:
    """Put audits side by side, and rank them where that says something.

    Args:
        given: two to 26 audits.
    """
    shared = in_common([one.record for one in given])
    audits = [_outcome(letter, one) for letter, one in zip(_LETTERS, given, strict=False)]
    refused = _refused(given, shared)
    places = [None] * len(audits) if refused else _places(audits)
    placed = [replace(one, place=place) for one, place in zip(audits, places, strict=True)]
    return Comparison(schema=COMPARISON.schema, audits=placed, shared=shared, refused=refused)


def _refused(given: Sequence[Given], shared: Sequence[Shared]) -> list[str]:
    """Why the audits cannot be ranked."""
    found = [
        f"not the same {one.aspect}" for one in shared if one.aspect in NEEDED and not one.same
    ]
    letters = dict(zip(_LETTERS, given, strict=False))
    tests = (
        ("the file was changed after it was written", lambda one: not one.intact),
        ("no retrained network to compare with", lambda one: not _is_retrained(one.record)),
        ("the audit cannot be relied on (a self-test failed)", lambda one: not one.record.trusted),
        ("no attack decides", lambda one: not any(map(_decides, one.record.attacks))),
        ("nothing could be measured", lambda one: one.record.verdict is Verdict.NOT_MEASURABLE),
    )
    for why, is_so in tests:
        named = [letter for letter, one in letters.items() if is_so(one)]
        if named:
            found.append(f"{', '.join(named)}: {why}")
    return found


def _is_retrained(record: AuditRecord) -> bool:
    return record.reference.kind is ReferenceKind.RETRAINED and record.reference.usable


def _places(audits: Sequence[Outcome]) -> list[int | None]:
    """One more than the number of audits that surely leave less beyond retrained networks."""
    found: list[int | None] = []
    ends = [_beyond(one) for one in audits]
    for own in ends:
        if own is None:
            found.append(None)
            continue
        found.append(1 + sum(other is not None and other[1] < own[0] for other in ends))
    return found


def _beyond(one: Outcome) -> tuple[float, float] | None:
    """Interval of what the attacker gains who gains most beyond retrained networks."""
    gain = one.furthest
    if gain is None:
        return None
    base = gain.retrained or 0.0
    return gain.low - base, gain.high - base


def _outcome(letter: str, given: Given) -> Outcome:
    record = given.record
    return Outcome(
        letter=letter,
        name=given.name,
        method="" if record.method is None else record.method.name,
        created=record.created,
        model=record.hashes.after,
        verdict=record.verdict,
        trusted=record.trusted,
        intact=given.intact,
        levels=[one.level for one in record.levels if one.holds],
        gains=[_gain(one) for one in record.attacks if _decides(one)],
        cost=record.cost,
    )


def _decides(one: AttackResult) -> bool:
    """Whether an attack is the strongest of its kind of attacker."""
    return one.verdict is not None and one.advantage is not None


def _gain(one: AttackResult) -> Gain:
    """The row of an attack that decides for its kind of attacker."""
    assert one.advantage is not None and one.verdict is not None
    low, high = one.erased_low - one.erased, one.erased_high - one.erased
    if one.unit == "AUC":
        low, high = 2 * low, 2 * high
        if one.erased < 0.5:
            low, high = -high, -low
    now = one.advantage.erased
    attacker = one.identity.attacker
    shots = "" if attacker.shots is None else f" ({attacker.shots} a class)"
    return Gain(
        attacker=f"{attacker.family}{shots}",
        attack=one.attack,
        verdict=one.verdict,
        before=one.advantage.original,
        now=now,
        low=max(now + low, 0.0),
        high=min(now + high, 1.0),
        retrained=one.advantage.reference,
        false_positives=one.false_positives,
        n=one.n,
    )
