"""The words in and under drawings."""

from __future__ import annotations

from enum import unique

from unspan.system.text_enum import TextEnum


@unique
class Drawn(TextEnum):
    """The words in and under drawings; `{…}` is filled in."""

    RELEARN_CAPTION = (
        "Share of forgotten test samples recognised when the attacker has a few examples. A"
        " solid line above the dotted one means faster than in the reference."
    )
    PER_CLASS_CAPTION = (
        "Outlined bars: before. Filled bars: after, with the 95\u00a0% interval as a dark"
        " line. {forgotten} marks what was to be forgotten.{part}"
    )
    CLASSES_DRAWN = (
        " {shown} of {found} classes are drawn: the forgotten ones and those that changed"
        " most; the table has all."
    )
    PER_CLASS_TITLE = "What the model itself names, class by class"
    ACCURACY_EVERY_CLASS = "Accuracy of every class before and after"
    FORGOTTEN = " (to be forgotten)"
    LAYERS_UNCHANGED = (
        " {same} of {drawn} layers did not change: whoever holds the weights has what those"
        " layers know."
    )
    WEIGHTS_CHANGED = "Where the weights changed"
    WEIGHTS_CAPTION = "Relative change of the weights of each layer, from input to output.{note}"
    ACCURACY_FORGOTTEN_DATA = "Accuracy on the forgotten data after a few examples"
    EXAMPLES_ATTACKER = "examples the attacker has"
    AFTER_FORGOTTEN = "after, forgotten"
    CHANGE_WEIGHTS_LAYER = "Change of the weights, layer by layer"
    ATTACKS_CAPTION = (
        "Circle: before. Diamond with line: after erasing, with its 95\u00a0% interval."
        " Triangle: the reference, which never had these data. The nearer the diamond is to"
        " the circle, the less was removed."
    )
    LAYERS_CAPTION = (
        "Layers from input to output. A diamond inside its circle means that the layer still"
        " carries what was to be removed."
    )
    STRONGEST_DRAWN = (
        " The {strongest} strongest of {attacks} attacks are drawn; the table has all."
    )
    EACH_ATTACK = "What each attack reads"
    EACH_LAYER = "What a probe reads at each layer"
    AS_SHARE = "As share of samples recognised"
    AS_AUC = "As AUC: 0.5 is guessing, 1 is certain"
    BEFORE = "Before"
    AFTER_ERASING = "After erasing"
    COSINE_CAPTION = (
        "Cosine between mean features: 1 is the same direction, 0 is unrelated, below 0"
        " (other colour) is opposed. This describes; it is no test.{part}"
    )
    EMBEDDING_CAPTION = (
        "Features drawn in two dimensions ({method}); triangles are samples that were to be"
        " forgotten. Distances in such pictures can mislead: this describes, it is no test."
    )
    NEAREST_DRAWN = (
        " {keep} of {classes} classes are drawn: the forgotten ones and those nearest to them."
    )
    COSINE_TITLE = "How similar the classes look inside the model"
    NONE_MEASURED = "none (not measured)"
    EMBEDDING_TITLE = "Where the samples lie inside the model"
    COSINE_OF = "Cosine between the mean features of the classes, {model}"
    MEAN_POSITION_EACH = "Mean position of each class: "
    FEATURES_TWO_DIMENSIONS = "Features in two dimensions, {model}"
    NEAREST = "{name} is nearest to {nearest}"
