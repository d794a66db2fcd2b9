"""The words of the sections that are made of levels, goals, scores and settings."""

from __future__ import annotations

from enum import unique

from unspan.system.text_enum import TextEnum


@unique
class Part(TextEnum):
    """Titles, leads, captions, columns and notes; `{…}` is filled in."""

    GOALS_LEAD = (
        "What a service needs that gives out features or scores, whatever a reference does."
        " A verdict above compares with the reference; these goals do so only for teaching"
        " again."
    )
    MAY_BE_CLAIMED = "What may be claimed"
    BASIS = (
        "Basis: data {test_data}; reference: {against}; numbers, intervals and n in the"
        " tables of this report."
    )
    GOALS_TITLE = "Goals for a service"
    CONTROLS_TITLE = "Did this audit test itself?"
    BLIND_TITLE = "Scores that a fake passes here, so they say nothing about what is left"
    LEVELS_CAPTION = "Levels of erasure, from the weakest claim to the strongest"
    GOALS_CAPTION = "Goals, and what was measured for each"
    PERHAPS_MET = "perhaps met"
    INTERVAL_REACHES = "its interval reaches beyond"
    NOT_SHOWN = "not shown"
    INTERVAL_REACHES_BACK = "its interval reaches within"
    DO_NOT_RELY = "Do not rely on this report: the audit failed its own test ({failed})."
    CONTROLS_CAPTION = "Planted cases and what the audit said about them"
    LEVEL = "Level"
    RESULT = "Result"
    MEANING = "Meaning"
    MEASUREMENT = "Measurement"
    NO_CLAIM = "This audit supports no claim of erasure."
    MAY_BE_SAID = "What may be said, and nothing beyond it"
    ATTACKER_CAN_STILL = "What an attacker can still do"
    LIMITS = "Limits"
    GOAL = "Goal"
    MEASURED = "Measured"
    BOUND = "Bound"
    WORST_CASE = "Worst case"
    NOT_MET = "not met"
    SURELY_MET = "surely met"
    PLANTED = "Planted"
    EXPECTED = "Expected"
    FOUND = "Found"
    NUMBER = "Number"
    SELF_TESTS = "Self-tests"
    AUDIT_CAUGHT = "The audit caught {right} of {count} fakes: models that only look erased."
    NO_FALSE_ALARM = "It raised no false alarm in {right} of {count} cases with nothing to find."
    GOALS = "Goals"
    PUBLISHED_LEAD = (
        "These scores are computed as the papers describe, so that results can be"
        " compared. They are not the basis of the verdict. The published probe stops"
        " before it has learned what it could. So a low value does not mean that the"
        " knowledge is gone."
    )
    LAYERS_LEAD = "What can be read before the last layer."
    PUBLISHED_TITLE = "Published scores: compatibility — not converged"
    PUBLISHED_CAPTION = (
        "Published scores (compatibility — not converged): value and 95\u00a0% interval"
    )
    MEMBERSHIP_TITLE = "Can it be told which samples were in the training data?"
    MEMBERSHIP_LEAD = (
        "Membership inference: an attacker guesses from the outputs whether a sample was"
        " used for training. An AUC of 0.5 is guessing."
    )
    MEMBERSHIP_CAPTION = "Membership inference: value and 95\u00a0% interval"
    LEAKAGE_TITLE = "What the delivered files give away"
    LEAKAGE_LEAD = "Whether somebody who holds the exported files can find out what was erased."
    LEAKAGE_CAPTION = "Leakage of the files: value and 95\u00a0% interval"
    CAST_TITLE = "After rounding the weights"
    CAST_LEAD = "Whether a smaller number format brings the erased knowledge back."
    CAST_CAPTION = "After casts: value and 95\u00a0% interval"
    STABILITY_TITLE = "Does a second question give the erased samples away?"
    STABILITY_LEAD = (
        "The same input with a little noise: if erased samples move more than others, they can be"
        " recognised by it."
    )
    STABILITY_CAPTION = "Asked twice: value and 95\u00a0% interval"
    MOVED_TITLE = "How far the features moved"
    MOVED_LEAD = "These numbers and pictures describe; none of them is a test."
    MOVED_CAPTION = "Distance between models"
    LAYER_BY_LAYER = "Layer by layer"
    REFERENCE = "Reference"
    MODEL = "Model"
    PUBLISHED_BESIDE = (
        "Here {score} reads {low}, which alone would look like an erasure. Another attack"
        " ({attack}) reads {read} from the same model: the knowledge is still there."
    )
    OUTPUT_CAPTION = "What the model itself still names: value and 95\u00a0% interval"
    UTILITY_CAPTION = "Accuracy and calibration of the model itself: value and 95\u00a0% interval"
    UTILITY_TITLE = "What the model itself names, and what the erasure cost"
    LARGEST_LOSS = (
        "Largest loss in a class that was to be kept: {name}. Before: {before}. After: {after}."
    )
    LAYERS_CAPTION = "Forgotten test samples that a linear probe recognises, layer by layer"
    SCORE = "Score"
    SAMPLES = "Samples"
    COST = "Cost"
    NONE_LOST = "No class that was to be kept lost accuracy."
    LAYER = "Layer"
    BEFORE = "Before"
    AFTER_ERASING = "After erasing"
    CLASSES_CAPTION = "Accuracy of the model itself, class by class"
    FORGOTTEN = "to be forgotten"
    CLASS = "Class"
    AFTER = "After"
    POINTS = "Points"
    PERSONAL = (
        "These pictures come from the audited data and may be personal data: treat this file"
        " accordingly."
    )
    ILLUSTRATES = (
        "Marked regions matter more for the answer of the model. This illustrates; it is no test."
    )
    RELEARNING_TITLE = "How fast can it be taught again?"
    IMAGES_TITLE = "Example images: where the model looks (Grad-CAM)"
    NEEDED_CAPTION = "Examples needed to read half of what the original gives away"
    RELEARNED_CAPTION = (
        "Forgotten test samples recognised after training on a few examples: mean over draws"
    )
    PICTURES_LEFT_OUT = "Pictures left out because they are no PNG data: {refused}."
    EXAMPLES = "Examples"
    IMAGE = "Image"
    EXAMPLE = "Example"
    INTERVAL = "Interval"
    RECOVERABLE_PART = "Recoverable part"
    INTERVAL_MEANS = (
        "The range in brackets, for a confidence of 95\u00a0%. If the audit were repeated"
        " with other test samples, about 95 of 100 such ranges would hold the true value."
    )
    N_MEANS = (
        "How many test samples are behind a number. A low value among few samples says"
        " little: that is why the interval stands beside it."
    )
    REFERENCE_MEANS = (
        "A model, or the plain images, that never learned what was to be erased. It is the"
        " fair zero: even such a model can often tell the samples apart."
    )
    RECOVERABLE_MEANS = (
        "How much of what the original gave away beyond the reference the erased model still"
        " gives away: (after − reference) / (before − reference). Shown between 0 and"
        " 100\u00a0%."
    )
    AUC_MEANS = "How well two groups are told apart: 0.5 is guessing, 1 is without error."
    NOT_RUN = "What was not run"
    NOTHING_LEFT_OUT = "The audit records nothing that was left out of this kind of audit."
    NOT_RUN_CAPTION = "Audits that were not run, and why"
    WORDS_CAPTION = "Words used in this report"
    WORDS_TITLE = "How to read this report"
    MEANS_RETAINED = (
        "One kind of attacker reads more than one more retrained network would give away, by"
        " at least {above} of the way to the original. Without retrained networks: the model"
        " itself still names what was forgotten."
    )
    MEANS_LIKE_RETRAINED = (
        "What every kind of attacker reads lies where one more retrained network would"
        " lie. At least one kind would have seen the difference to the original."
    )
    MEANS_BELOW_RETRAINED = (
        "No kind of attacker reads more than that. One reads less than any network that"
        " never learned it would give away: it is suppressed, and this is a trace. Without"
        " retrained networks: no attacker gains more than {guessing} over guessing."
    )
    MEANS_INCONCLUSIVE = (
        "Neither of them: retrained networks, more of them, or more test samples are needed."
    )
    MEANS_NOT_MEASURABLE = (
        "Retrained networks differ so much, or give away so much, that nobody can tell them"
        " from the original by these attacks."
    )
    RECORD_TITLE = "Settings and versions"
    ATTEMPTS_CAPTION = (
        "Other audits of this request in the log of the cache: other models or settings"
    )
    AUDIT = "Audit"
    WHY = "Why"
    NOT_RUN_LEAD = "Nothing is claimed about these."
    WORD = "Word"
    REQUEST_CAPTION = "Request and audit"
    SETTINGS = "Settings"
    VERSIONS = "Versions"
    SECONDS = "Seconds"
    VERDICT = "Verdict"
    ERASED_MODEL = "Erased model"
    CLASS_FORGOTTEN = "class to be forgotten"
    NOT_FINISHED = "not finished"
    NAME = "Name"
    VALUE = "Value"
    NOT_RUN_NO_REASON = "Not run; no reason was recorded."
    NOT_RUN_BECAUSE = "Not run: {why}"
    NOT_MEASURED = "not measured"
    NOT_MEASURABLE = "not measurable"
    ALMOST_NONE = "below 0.1\u00a0%"
    ALMOST_ALL = "above 99.9\u00a0%"
    LOWER = "↓ lower is better"
    HIGHER = "↑ higher is better"
    NEARER = "≈ nearer to the reference is better"
    DESCRIBES = "describes only"
