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


class Given(TextEnum):
    """What an audit was given of every model."""

    MODELS = "models"
    OUTPUTS = "outputs"


class TestData(TextEnum):
    """Where the samples come from that the attacker is judged on."""

    HELD_OUT = "held_out"
    FIFTH = "fifth_of_the_data"


class Limit(TextEnum):
    """What an audit cannot tell."""

    ATTACKS_LISTED = "attacks_listed"
    SETTINGS_NAMED = "settings_named"
    UNTESTED_LEVELS = "untested_levels"
    NOT_LEGAL_ADVICE = "not_legal_advice"
    TESTED_ON_TRAINING = "tested_on_training_data"


class LeftOut(TextEnum):
    """A part that an audit leaves out, for one reason."""

    MEMBERSHIP = "membership"
    LAYERS = "earlier_layers"
    MODELS = "what_needs_models"
    SCORES = "what_needs_scores"
    CLASS_PROBES = "class_probes"
    VIEWS = "altered_copies"
    GRADCAM = "gradcam"
    TRAINING = "what_needs_training"


class Planted(TextEnum):
    """A case that an audit plants to test itself."""

    UNTOUCHED = "untouched_model"
    HEAD_EDIT = "head_only_edit"
    STRETCHED = "stretched_features"
    PERMUTED = "permuted_labels"


class FooledScore(TextEnum):
    """A score that a fake may pass."""

    OWN_HEAD = "own_head"
    PUBLISHED_PROBE = "published_probe"


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


class Access(TextEnum):
    """What somebody has of a model, from the least to the most."""

    NAMED = "sees which class is named"
    SCORES = "sees all scores"
    FEATURES = "trains on features"
    REPEATS = "asks again or alters images"
    FILE = "holds the model file"
    COPIES = "holds old copies"


class Obtainable(TextEnum):
    """Whether somebody can still get what was forgotten."""

    YES = "yes"
    NO = "no"
    CANNOT_TELL = "cannot tell"


class Basis(TextEnum):
    """What an answer rests on."""

    MEASURED = "measured"
    NOT_TESTED = "not tested"
    ERASER_COMES_OFF = "the eraser comes off"
    WEIGHTS_UNCHANGED = "the weights are unchanged"
    FROM_OTHER_ACCESS = "he has another access as well"
    NOT_TOUCHED = "not touched by an erasure"


class Strength(TextEnum):
    """How much a verdict can carry."""

    WEAK = "weak"
    FAIR = "fair"
    STRONG = "strong"


class Weakness(TextEnum):
    """What keeps the evidence of an audit from being stronger."""

    NOT_TRUSTED = "a self-test failed, none was run, or the reference cannot serve as one"
    UNDECIDED = "the attacks do not decide"
    NO_REFERENCE = "no retrained network to compare with"
    FEW_REFERENCES = "fewer than three retrained networks"
    VERY_FEW_SAMPLES = "very few test samples"
    FEW_SAMPLES = "few test samples"
    PARTLY_UNDECIDED = "some kinds of attackers do not decide"
    HEAD_ONLY = "no attack on features decides"
    NOT_HELD_OUT = "the test samples were trained on"


class Step(TextEnum):
    """What to do after an audit."""

    DO_NOT_RELY = "do not rely on this audit"
    ERASE_AGAIN = "erase again or retrain"
    KEEP_SCORES = "do not give out scores"
    KEEP_FEATURES = "do not give out features"
    LIMIT_REPEATS = "limit repeated questions"
    KEEP_FILE = "do not give away the file"
    DELETE_COPIES = "delete old copies"
    MORE_REFERENCES = "audit with more retrained networks"
    MORE_SAMPLES = "audit with more test samples"
    KEEP_REPORT = "keep the report with the file"
    VERIFY = "check file and report"


class Saying(TextEnum):
    """What an audit does not allow to say."""

    DELETED = "deleted"
    NEVER_SEEN = "never seen"
    FILE_IS_SAFE = "the file is safe"
    LAWFUL = "lawful"
