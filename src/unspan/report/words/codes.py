"""The words of attacks, levels, goals, limits, and of what was left out or planted."""

from __future__ import annotations

from unspan.audit_record.vocabulary import (
    FooledScore,
    Goal,
    LeftOut,
    Level,
    Limit,
    Planted,
    TestData,
)
from unspan.metrics.identity import AttackKind

_TRAINS_LINEAR = (
    "somebody who sees features trains a linear classifier on labelled examples, to convergence"
)


_COMPARES = "somebody who sees features compares them with labelled examples"


_ADDS_IT = (
    "somebody with a few examples of the forgotten class adds it to a classifier of the other"
    " classes"
)


EXPLAIN = {
    AttackKind.LINEAR: _TRAINS_LINEAR,
    AttackKind.LINEAR_WHITENED: (
        "somebody who sees features takes their scale and correlation away, then trains a linear"
        " classifier to convergence"
    ),
    AttackKind.AFFINE_AGAINST_REST: (
        "somebody who sees features solves for the best affine guess of what was forgotten"
    ),
    AttackKind.LINEAR_AGAINST_REST: (
        "somebody who sees features learns to tell forgotten samples from all others"
    ),
    AttackKind.MLP: (
        "somebody who sees features trains a small neural network on labelled examples"
    ),
    AttackKind.NEIGHBOURS: _COMPARES,
    AttackKind.NEIGHBOURS_AGAINST_REST: _COMPARES,
    AttackKind.SIGNATURE: (
        "somebody who sees only the scores of the model learns how they look for forgotten samples"
    ),
    AttackKind.OWN_ANSWER: "somebody who asks the model sees which class it names",
    AttackKind.IDENTIFICATION: (
        "somebody who enrols everybody anew and searches for the nearest mean embedding"
    ),
    AttackKind.IDENTIFICATION_BY_SAMPLE: (
        "somebody who enrols everybody anew and searches for the nearest embedding"
    ),
    AttackKind.LINEAR_OF_VIEWS: (
        "somebody who asks for each image and for nine altered copies trains a linear classifier on"
        " the mean of the features"
    ),
    AttackKind.ANSWER_OF_VIEWS: (
        "somebody who asks for each image and for nine altered copies takes the class that is"
        " likeliest over all answers"
    ),
    AttackKind.FEW_SHOT_PROTOTYPE: _ADDS_IT,
    AttackKind.FEW_SHOT_STANDARDISED: _ADDS_IT,
    AttackKind.FEW_SHOT_REFIT: _ADDS_IT,
}
"""What a person without training in the field should know about an attack."""


LEVEL_TITLE = {
    Level.L0: "the model's own answer, or a search with its embeddings, no longer names it",
    Level.L1: "no affine probe tells it from the rest better than a constant",
    Level.L2: "no tested probe on features or scores recovers it beyond the reference",
    Level.L3: "it is not relearned from a few examples faster than in the reference",
    Level.L4: "the weights changed, and the levels above hold at every layer that was tested",
    Level.S: "single samples of the request cannot be told from samples never seen",
}


GOAL_NAME = {
    Goal.PROBES: "strongest trained probe",
    Goal.FEATURES: "forgotten against rest, from features",
    Goal.SCORES: "forgotten against rest, from scores",
    Goal.TEACHING: "taught again from 10 examples",
    Goal.NOISE: "the same input with little noise, who moves more",
    Goal.VIEWS: "trained probe with ten views of an image",
    Goal.RETAIN_ACCURACY: "right on what was to be kept",
}


_ABOVE_CHANCE = "at most 5 points above chance"


_EITHER_WAY = "AUC at most 0.60, either way"


GOAL_RULE = {
    Goal.PROBES: _ABOVE_CHANCE,
    Goal.FEATURES: _EITHER_WAY,
    Goal.SCORES: _EITHER_WAY,
    Goal.TEACHING: "no more than the reference",
    Goal.NOISE: _EITHER_WAY,
    Goal.VIEWS: _ABOVE_CHANCE,
    Goal.RETAIN_ACCURACY: "at most 0.3 points below the original",
}


TEST_DATA = {
    TestData.HELD_OUT: "held-out test data",
    TestData.FIFTH: "a held-out fifth of the data given (no test split)",
}


LIMIT = {
    Limit.ATTACKS_LISTED: "Only the attacks listed were tried; others may do better.",
    Limit.SETTINGS_NAMED: (
        "The result holds for the data, the models and the settings named by the hashes below."
    ),
    Limit.UNTESTED_LEVELS: "A level that was not tested is not claimed.",
    Limit.NOT_LEGAL_ADVICE: "This is a measurement, not legal advice.",
    Limit.TESTED_ON_TRAINING: (
        "The samples the attacker is judged on were in the training data of the original model: a"
        " test split says more."
    ),
}


LEFT_OUT = {
    LeftOut.MEMBERSHIP: "membership of single samples (RMIA, LiRA)",
    LeftOut.LAYERS: "earlier layers",
    LeftOut.MODELS: "earlier layers, the eraser taken off, casts, noise on the input",
    LeftOut.SCORES: "scores, casts, output signature",
    LeftOut.CLASS_PROBES: "class probes (linear, kNN, MLP, few-shot, KR)",
    LeftOut.VIEWS: "altered copies (ten views of an image)",
    LeftOut.GRADCAM: "Grad-CAM pictures",
    LeftOut.TRAINING: "recovery by fine-tuning, shadow models (U-LiRA)",
}


LEFT_OUT_WHY = {
    LeftOut.MEMBERSHIP: (
        "needs class scores that differ, labels, twenty unseen samples of the class, and models"
        " trained without the samples (--reference)"
    ),
    LeftOut.LAYERS: "no layer that all models share was found before the features",
    LeftOut.MODELS: "outputs were given, not models",
    LeftOut.SCORES: "the model gives no class scores",
    LeftOut.CLASS_PROBES: "the request is of samples, not of a class",
    LeftOut.VIEWS: "the inputs are no images, or there is no network",
    LeftOut.GRADCAM: (
        "not asked for: the pictures show forgotten samples, and a report holds none by default"
        " (--include-images 4 shows four)"
    ),
    LeftOut.TRAINING: "need training; not part of the default audit",
}


PLANTED = {
    Planted.UNTOUCHED: "untouched model handed in as erased",
    Planted.HEAD_EDIT: "head-only edit (the class can no longer be named, features as before)",
    Planted.STRETCHED: "features stretched by an invertible map (nothing is gone)",
    Planted.PERMUTED: "permuted labels (there is nothing to find)",
}


FOOLED_SCORE = {
    FooledScore.OWN_HEAD: "accuracy of the model's own head, and HM",
    FooledScore.PUBLISHED_PROBE: "KR (published probe)",
}
