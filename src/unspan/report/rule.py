"""The verdicts, levels and goals of an audit, thresholds of the verdicts, the schema."""

from __future__ import annotations

from enum import Enum

SCHEMA = "unspan.audit/2"


class _Word(str, Enum):
    """A member whose text is its value, in JSON and in print."""

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class Verdict(_Word):
    """What an audit says about all attacks together, or about one."""

    ERASED = "ERASED AT THIS LEVEL"
    RETAINED = "RETAINED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURABLE = "NOT MEASURABLE"


class Level(_Word):
    """What may be claimed, from the weakest to the strongest; S is about single samples."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    S = "S"


class LevelState(_Word):
    """Whether a level holds. NOT_SHOWN means tested, but the measurement does not decide."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_SHOWN = "not shown"
    NOT_TESTED = "not tested"


class Goal(_Word):
    """What a service needs that gives out features or scores."""

    PROBES = "probes"
    FEATURES = "features_against_rest"
    SCORES = "scores_against_rest"
    TEACHING = "teaching_again"
    NOISE = "noise"
    MIRROR = "mirror"
    RETAIN_ACCURACY = "retain_accuracy"


class Topic(_Word):
    """A part of an audit that may be left out; its value is the section of the report."""

    ATTACKS = "attacks"
    UTILITY = "utility"
    PUBLISHED = "published"
    RELEARNING = "relearning"
    MEMBERSHIP = "membership"
    LEAKAGE = "leakage"
    CAST = "cast"
    STABILITY = "stability"
    REPRESENTATION = "representation"
    SWEEP = "sweep"
    GRADCAM = "gradcam"
    LEVELS = "levels"
    CONTROLS = "controls"


ERASED = Verdict.ERASED
RETAINED = Verdict.RETAINED
INCONCLUSIVE = Verdict.INCONCLUSIVE
NOT_MEASURABLE = Verdict.NOT_MEASURABLE
MARK: dict[str, str] = {ERASED: "yes", RETAINED: "no", INCONCLUSIVE: "open", NOT_MEASURABLE: "none"}
ERASED_BELOW = 0.10  # of the recoverable fraction
RETAINED_ABOVE = 0.25
ROOM = 0.10  # smallest difference of original and reference that can be measured
