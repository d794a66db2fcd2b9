"""The words of the first screen."""

from __future__ import annotations

from enum import unique

from unspan.audit_record.vocabulary import (
    Access,
    Basis,
    Level,
    LevelState,
    Obtainable,
    Saying,
    Step,
    Strength,
    Verdict,
    Weakness,
)
from unspan.metrics.identity import Family
from unspan.system.target import Target
from unspan.system.text_enum import TextEnum


@unique
class First(TextEnum):
    """Words that belong to no other table; `{…}` is filled in."""

    TITLE = "Audit of a deletion"
    SKIP = "Skip to the evidence"
    CONTENTS = "Contents"
    STAMP = "audit.json {seal}"
    NO_STAMP = "audit without a seal"
    WARNING = "Warning."
    # identity
    DELETION = "Deletion"
    MODEL = "Model file"
    OUTPUTS = "File of outputs"
    FILE_HASH = "SHA-256 of the file"
    AUDITED = "Audited"
    BY = "By"
    VALID = "Valid until"
    NO_DELETION = "no number: the model has no receipt"
    IN_MEMORY = "model in memory, no file"
    NO_HASH = "none: there is no file"
    NOBODY = "nobody named (who signs for it?)"
    UNTIL_CHANGE = "the file, the data or the way it is used changes"
    UNTIL_DATE = "the file, the data or the way it is used changes; at latest {date}"
    # verdict
    ASKED = "What was asked"
    NOT_RECORDED = "the request was not recorded"
    FORGET_CLASS = "forget the class {names}"
    FORGET_CLASSES = "forget the classes {names}"
    AND_MORE = " and {count} more"
    FORGET_SAMPLES = "forget {samples}"
    WITH_SAMPLES = " ({samples})"
    METHOD = "Method: {name}, {form} form"
    NEAR_GUESSING = "Nobody who uses the model gained more than a little over guessing."
    CODE = "Verdict code"
    NO_LEVELS = "No level was tested"
    AIM = "Aimed at"
    AIM_UNKNOWN = "not recorded: the model has no receipt that says so"
    EVIDENCE = "Evidence"
    TESTED_ON = "{samples} ({where})"
    COMPARED = "compared with {reference}"
    DECIDED = "{able} of {tried} kinds of attackers could decide (listed below)"
    # accesses
    WHO = "Who can still get what?"
    WHO_COLUMN = "Somebody who …"
    STILL = "Still?"
    NOW = "Now"
    GUESSING = "Guessing"
    BEFORE = "Before"
    NEVER = "Retrained"
    REFERENCE = "Reference"
    WHO_CAPTION = (
        "Forgotten test samples recognised, with 95\u00a0% interval. An AUC says how well they are"
        " told from others: 0.5 is guessing, 1 is without error."
    )
    WHO_RETRAINED = (
        "Networks that never saw it can be taught it quickly, from what they know of other images."
        " So what “Retrained” gives is what a true deletion leaves."
    )
    WEAK = "weak evidence"
    TRACES = "finds traces"
    A_TRACE = "less is read than in networks that never learned it: a trace of the erasure"
    MOVES = "erased samples move more when asked twice, which was not so before"
    BY_ATTACK = "by {attack}"
    NO_ANSWERS = "This audit did not record who can still get what."
    # bars
    BARS = "Before, now, guessing, retrained"
    BARS_OF = "What decides: somebody who {who}, {attack}."
    NO_BARS = "No attack was run, so nothing can be said about what is left."
    NOT_GIVEN = "none given"
    # cost
    COST = "What it cost"
    KEPT = "Right on what was to be kept: {before} before, {after} now (n\u00a0=\u00a0{n})."
    WORST = "Class that lost most: {name}, {before} before, {after} now (n\u00a0=\u00a0{n})."
    NONE_LOST = "No class that was to be kept lost accuracy on its test samples."
    NO_COST = "Not measured: the model gives no class scores, or samples to keep were not given."
    GOALS = "Goals for a service: {sure} surely met, {perhaps} perhaps, {missed} not."
    NOT_MET = "Not met: {names}."
    NO_MORE = "yes, but no more than retrained"
    SHOWS = "the erasure shows"
    NO_TRACED = "no, but the erasure shows"
    # what next, what may be said
    NEXT = "Do this next"
    MAY = "You may say"
    MAY_NOT = "You may not say"
    QUOTED = "“{text}”"
    ON_DATE = "On {date}, in this audit: {text}"
    OF_DELETION = "On {date}, audit of deletion {number}: {text}"
    SAY_WEAK = "Say with it that the evidence is weak: {why}."
    THE_CLASS = "the class “{name}”"
    THE_CLASSES = "what was to be forgotten"
    NO_CLAIM = "the model was audited. The audit supports no claim of erasure."
    FOOTER = (
        "Measured facts and their limits, not legal advice. Nothing in this file is loaded from"
        " elsewhere, and nothing in it runs."
    )
    # the plain sentence: what normal use shows; `IN_FILE` has what the file shows
    UNMEASURABLE = "This audit cannot tell whether it is gone."
    STILL_NAMED = "Still in the answers."
    NOT_NAMED = "No longer named."
    IN_SCORES = "Still in the scores."
    IN_FEATURES = "Still in the features."
    IN_BOTH = "Still in the scores and the features."
    IN_REPEATS = "Hidden from one question. Not from repeated ones."
    NO_MORE_SHOWN = "Nothing more is shown to be hidden."
    NOT_SHOWN = "Not shown to be erased."
    STILL_IN_FILE = "It is not gone from the file."
    BACK_FROM_FILE = "Whoever holds the file gets it back: {now} recognised, {before} before."
    HIDDEN = "Hidden in normal use."
    AS_NEVER_LEARNED = "Used normally, like a network that never learned it."
    BY_CHANCE = "about as often as by guessing"
    RARELY_NAMED = "Named about as rarely as by guessing."
    NO_MORE_IN_FILE = "The file gives no more either."
    READ_OTHERWISE = "It can still be read in other ways."
    SOME_CANNOT_TELL = "{undecided} of {tried} kinds of attackers cannot tell."
    READABLE = "Still readable."
    NONE = "none"
    TRACED = "met. Whoever {who} can see that something was erased"
    ONE_MORE_REFERENCE = "Audit again with 1 more network retrained without the data."
    PARTLY_TESTED = "tested with noise only, not with altered copies"
    MAY_NAMED = "the model’s own answer named {what} in {hits} of {n} test samples of it."
    REFERENCE_RETRAINED = "{models} retrained without these data"
    REFERENCE_RANDOM = "{models} of the same shape with random weights"
    REFERENCE_PIXELS = "the images themselves, without any network"
    REFERENCE_NONE = "no other model"
    ONE_MODEL = "1 model"
    MANY_MODELS = "{count} models"
    ONE_SAMPLE = "1 sample"
    MANY_SAMPLES = "{count} samples"
    # warnings
    SELF_TESTS_FAILED = (
        "Do not rely on this verdict: {failed} of {count} self-tests of this audit failed."
    )
    NO_SELF_TESTS = "The self-tests of this audit were not run."
    LOST = "The new model lost much of what was to be kept: {after} right, {before} before."
    EARLY = "NOT CONVERGED, could read more: {attacks}."
    AND_OTHERS = " and others"
    CONTRADICTED = (
        "Do not rely on this verdict: at least one attack in the table below says RETAINED."
    )


ANSWER = {Obtainable.YES: "yes", Obtainable.NO: "no", Obtainable.CANNOT_TELL: "cannot tell"}
ACCESS = {
    Access.NAMED: "sees the answers: what is named, or found by a search",
    Access.SCORES: "sees the answers: all scores",
    Access.FEATURES: "trains on the model’s internal features",
    Access.REPEATS: "asks twice or alters images",
    Access.FILE: "holds the model file (earlier layers)",
    Access.COPIES: "holds old copies, backups or the training data",
}
BASIS = {
    Basis.MEASURED: "",
    Basis.NOT_TESTED: "not tested",
    Basis.ERASER_COMES_OFF: "the eraser can be taken off, then all is as before",
    Basis.WEIGHTS_UNCHANGED: "the layers before the eraser are as before",
    Basis.FROM_OTHER_ACCESS: "has an access named above as well",
    Basis.NOT_TOUCHED: "an erasure does not touch copies",
}

IN_FILE = {
    Obtainable.YES: "Not gone from the file.",
    Obtainable.NO: "Not found in the file either.",
    Obtainable.CANNOT_TELL: "Not shown to be gone from the file.",
}
MEANING = {
    Verdict.LIKE_RETRAINED: (
        "Nobody who uses the model read more of it than from networks that never learned it."
    ),
    Verdict.BELOW_RETRAINED: (
        "Nobody who uses the model read more of it than from networks that never learned it. Some"
        " read less: one can see that something was suppressed."
    ),
    Verdict.RETAINED: "What was to be erased can still be read out of the new model.",
    Verdict.INCONCLUSIVE: "The measurements do not decide. No erasure may be claimed from them.",
    Verdict.NOT_MEASURABLE: (
        "The attacks cannot tell whether anything was erased. No erasure may be claimed from them."
    ),
}
LEVELS = {
    LevelState.HOLDS: "Levels that hold",
    LevelState.FAILS: "Levels that do not hold",
    LevelState.NOT_SHOWN: "Not shown",
    LevelState.NOT_TESTED: "Not tested",
}
TARGET = {
    Target.SUPPRESS: "suppressed (nobody reads more than a network that never learned it gives)",
    Target.LIKE_RETRAINED: "like retrained (as if it had never been learned)",
}
TARGET_MET = {True: "met", False: "not met", None: "not decided"}
STRENGTH = {Strength.WEAK: "weak", Strength.FAIR: "fair", Strength.STRONG: "strong"}
WEAKNESS = {
    Weakness.NOT_TRUSTED: "the audit failed its own test, ran none, or has no usable reference",
    Weakness.UNDECIDED: "the attacks do not decide",
    Weakness.NO_REFERENCE: "no retrained network to compare with",
    Weakness.FEW_REFERENCES: "fewer than three retrained networks",
    Weakness.VERY_FEW_SAMPLES: "fewer than 20 test samples",
    Weakness.FEW_SAMPLES: "fewer than 200 test samples",
    Weakness.PARTLY_UNDECIDED: "some kinds of attackers do not decide",
    Weakness.HEAD_ONLY: "no attack on features decides",
    Weakness.NOT_HELD_OUT: "the test samples were trained on",
}
FAMILY = {
    Family.ANSWERS: "sees the answers",
    Family.SEARCH: "searches with embeddings",
    Family.SCORES: "learns from the scores",
    Family.PROBES: "trains on features",
    Family.FEATURES: "tells forgotten from others by features",
    Family.TEACHING: "teaches it again from examples",
    Family.VIEWS: "asks with altered copies and trains on features",
    Family.VIEWS_ANSWERS: "asks with altered copies and sees the answers",
    Family.SAMPLES: "knows single samples",
}
STEP = {
    Step.DO_NOT_RELY: "Do not rely on this audit: mend what the warnings name, and repeat it.",
    Step.ERASE_AGAIN: (
        "Erase again by another method, or retrain without the data. Then audit again."
    ),
    Step.KEEP_SCORES: "Give out the name of the class only, not the scores.",
    Step.KEEP_FEATURES: "Do not give out features (embeddings) of this model.",
    Step.LIMIT_REPEATS: "Do not answer repeated or altered questions about the same image.",
    Step.KEEP_FILE: "Do not give the model file to others.",
    Step.DELETE_COPIES: (
        "Delete old model files, backups, and features or vectors made with the old model, also"
        " where they were given to others. Delete the samples from the training data."
    ),
    Step.MORE_REFERENCES: ("Audit again with {count} more networks retrained without the data."),
    Step.MORE_SAMPLES: "Audit again with more test samples of what was forgotten (now {count}).",
    Step.KEEP_REPORT: "Keep this report with the model it is about.",
    Step.VERIFY: (
        "Keep this report with the file. To check that both belong together: unspan verify FOLDER"
        " --audit AUDIT (the folders of the model and of this report)."
    ),
}
MAY = {
    Level.L0: "the model’s own answer no longer names {what}, in {n} test samples.",
    Level.L1: "no affine probe tells {what} from the rest, in {n} test samples.",
    Level.L2: (
        "no tested attack on what the model gives out reads more of {what} than from {reference}."
    ),
    Level.L3: "{what} is relearned from a few examples no faster than by {reference}.",
    Level.L4: "the levels above hold at the earlier layers that were tested, too.",
    Level.S: "single samples of the request are not told from samples never seen.",
}
MAY_NOT = {
    Saying.DELETED: "The data were deleted from the model.",
    Saying.NEVER_SEEN: "The model is as if it had never seen the data.",
    Saying.FILE_IS_SAFE: "The model file can be given away safely.",
    Saying.LAWFUL: "The law is complied with.",
}
