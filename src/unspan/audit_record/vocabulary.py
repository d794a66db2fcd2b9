"""The words of an audit: verdicts, levels, goals, references, groups of scores."""

from __future__ import annotations

from unspan.system.text_enum import TextEnum


class Verdict(TextEnum):
    """What an audit says about all attackers together, or about one kind of them."""

    LIKE_RETRAINED = "LIKE RETRAINED"
    BELOW_RETRAINED = "BELOW RETRAINED"
    RETAINED = "RETAINED"
    INCONCLUSIVE = "INCONCLUSIVE"
    NOT_MEASURABLE = "NOT MEASURABLE"

    @property
    def erased(self) -> bool:
        """Whether no attacker reads more than in a network that never learned."""
        return self in (Verdict.LIKE_RETRAINED, Verdict.BELOW_RETRAINED)


LIKE_RETRAINED = Verdict.LIKE_RETRAINED
BELOW_RETRAINED = Verdict.BELOW_RETRAINED
RETAINED = Verdict.RETAINED
INCONCLUSIVE = Verdict.INCONCLUSIVE
NOT_MEASURABLE = Verdict.NOT_MEASURABLE


class Level(TextEnum):
    """What may be claimed, from the weakest to the strongest; S is about single samples."""

    L0 = "L0"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    S = "S"


class LevelState(TextEnum):
    """Whether a level holds. NOT_SHOWN means tested, but the measurement does not decide."""

    HOLDS = "holds"
    FAILS = "does not hold"
    NOT_SHOWN = "not shown"
    NOT_TESTED = "not tested"


class Goal(TextEnum):
    """What a service needs that gives out features or scores."""

    PROBES = "probes"
    FEATURES = "features_against_rest"
    SCORES = "scores_against_rest"
    TEACHING = "teaching_again"
    NOISE = "noise"
    VIEWS = "views"
    RETAIN_ACCURACY = "retain_accuracy"


GOAL_NAME = {
    Goal.PROBES: "strongest trained probe",
    Goal.FEATURES: "forgotten against rest, from features",
    Goal.SCORES: "forgotten against rest, from scores",
    Goal.TEACHING: "taught again from 10 examples",
    Goal.NOISE: "the same input with little noise, who moves more",
    Goal.VIEWS: "trained probe with ten views of an image",
    Goal.RETAIN_ACCURACY: "right on what was to be kept",
}


class ReferenceKind(TextEnum):
    """What the erased model is compared with."""

    RETRAINED = "retrained"
    RANDOM = "random weights"
    PIXELS = "raw pixels"
    NONE = "none"


class ScoreGroup(TextEnum):
    """Which part of the report a score belongs to."""

    UTILITY = "utility"
    OUTPUT = "output"
    PUBLISHED = "published"
    RELEARNING = "relearning"
    MEMBERSHIP = "membership"
    LEAKAGE = "leakage"
    CAST = "cast"
    STABILITY = "stability"
    REPRESENTATION = "representation"


class Topic(TextEnum):
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


class Expected(TextEnum):
    """What an audit should say of a planted case: a fake is caught, noise passes."""

    CAUGHT = "caught"
    PASSED = "passed"
