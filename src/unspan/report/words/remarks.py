"""The words of remarks, and of sentences that are made of several fields of a record.

`{name}` stands for a value of the remark. What follows a colon says how it is written: `1` or `0`
as percent with so many decimals, `kinds` as a number of kinds of attackers.
"""

from __future__ import annotations

from enum import unique

from unspan.audit_record.remarks import RemarkCode
from unspan.system.text_enum import TextEnum


@unique
class Said(TextEnum):
    """Words of sentences that are made of several fields of a record; `{…}` is filled in."""

    NO_ATTACK_RUN = "No attack was run, so nothing can be said about what is left."
    HEAD_ONLY = (
        "Only what the head says could be judged, and a head can be edited alone: the features"
        " could not be told from those of retrained networks, nor from the original's."
    )
    DECIDES = (
        "What decides: {attack} {does} the forgotten samples at {read}{alarms}; in the original"
        " model {original}{reference}."
    )
    RECOGNISES = "recognises"
    SEPARATES = "separates"
    ALARMS = ", and takes {share} of the others for them"
    IN_REFERENCE = ", in the reference ({kind}) {read}"
    CLAIM = "{level}: for {what}, {title}, as far as the attacks tried on {data} show ({why})."
    REQUEST = "{kind} {names}"
    RETAINED_SHARE = "{explained}: {read} of the forgotten samples are recognised{part} ({attack})."
    RETAINED_AUC = "{explained}: they are told apart with {read}{part} ({attack})."
    PART_KEPT = ", {share} of what the original gave away beyond networks that never learned them"
    AUDITED_ONCE = (
        "This request was audited before with other models or settings, 1 time: {verdicts}"
    )
    AUDITED_OFTEN = (
        "This request was audited before with other models or settings, {count} times: {verdicts}"
    )
    NOT_FINISHED = "not finished"
    GOAL = "{name}: {rule}"
    GIVEN_ONE = (
        "1 model given as trained without the forgotten data; the spread of training is an expected"
        " one, since one seed does not show it"
    )
    GIVEN_FEW = (
        "{count} models given as trained without the forgotten data; three or more seeds would tell"
        " better how much training alone varies"
    )
    GIVEN = "{count} models given as trained without the forgotten data"
    RANDOM = (
        "the same architecture with random weights, for comparison only: features learned from"
        " other classes often separate one that was never seen, so only networks retrained without"
        " the data can tell"
    )
    NO_REFERENCE = (
        "no other model was given, so that only absolute bounds decide; networks retrained without"
        " the data could tell more"
    )
    PIXELS = "the inputs themselves, averaged to 8 x 8 pixels, for comparison only"
    ONE_KIND = "1 kind of attackers"
    MANY_KINDS = "{count} kinds of attackers"
    CAUGHT = "caught"
    PASSED = "passed"
    NOT_CAUGHT = "not caught"
    NOT_CAUGHT_WORD = "not caught ({verdict})"
    BY_ATTACK = "{attack}: {read}"
    NO_ATTACK = "no attack"


_NETWORKS = "about {networks} retrained networks (now {given})"
_SAMPLES = "about {samples} test samples of them (now {tested})"
REMARK = {
    RemarkCode.LESS_THAN_RETRAINED: (
        "less is read than in a network that never learned them, which is a trace itself"
    ),
    RemarkCode.BAND_TOO_WIDE: (
        "retrained networks differ too much to tell them from the original by this"
    ),
    RemarkCode.BAND_TOO_WIDE_HERE: (
        "retrained networks and the original lie too close together for this width of the band"
    ),
    RemarkCode.MORE_BUT_LITTLE: (
        "more is read than in retrained networks, but little of what the original gave away"
    ),
    RemarkCode.FAILS_ON_RETAINED: (
        "attacks fail on what was to be kept as well, so that they read little says nothing"
    ),
    RemarkCode.ONLY_RETRAINED_TELL: "only networks retrained without the data could tell",
    RemarkCode.STILL_NAMED: "the model itself still names it",
    RemarkCode.NO_MORE_THAN_GUESSING: "no more is read than by guessing",
    RemarkCode.SAMPLES_WOULD_DECIDE: f"{_SAMPLES} would decide",
    RemarkCode.NETWORKS_WOULD_DECIDE: f"{_NETWORKS} would decide",
    RemarkCode.EITHER_WOULD_DECIDE: f"{_SAMPLES} or {_NETWORKS} would decide",
    RemarkCode.NOTHING_WOULD_DECIDE: (
        "neither more test samples nor more retrained networks would decide"
    ),
    RemarkCode.NETWORKS_VARY: (
        "no more is read than in retrained networks, but they vary too much to tell"
    ),
    RemarkCode.NOT_GIVEN_AWAY: "the original does not give single samples away",
    RemarkCode.GIVEN_AWAY_SINCE: (
        "the original does not give single samples away, and the erased model does"
    ),
    RemarkCode.TOO_FEW_SAMPLES: "too few samples",
    RemarkCode.NO_SCORES: "the model gives no class scores",
    RemarkCode.OWN_SCORES: (
        "its own scores are right for {read} of the forgotten samples; the bound is {bound:0}"
    ),
    RemarkCode.FOUND_BY_SEARCH: (
        "a search, everybody enrolled anew, finds {read} of the forgotten samples; the bound is"
        " {bound:0}"
    ),
    RemarkCode.LARGEST_AFTER_CAST: "largest after {cast}, {read}",
    RemarkCode.RENAMED: (
        "but output {output} now stands for them: it names {share:1} of them and little else"
    ),
    RemarkCode.HEAD_ALONE_REACHES_IT: "an edit of the head alone can reach this level",
    RemarkCode.NOT_MEASURED: "not measured",
    RemarkCode.AFFINE: "R² {r2:.3f} on fit data; {area} on test data",
    RemarkCode.NEEDS_RETRAINED: "needs networks retrained without the data (--reference)",
    RemarkCode.NONE_TELLS: "no attacker tells retrained networks from the original",
    RemarkCode.MORE_THAN_RETRAINED: (
        "{count} of {tried:kinds} read more than retrained networks give away"
    ),
    RemarkCode.UNDECIDED: "{count} of {tried:kinds} do not decide",
    RemarkCode.NONE_READS_MORE: (
        "none of {tried:kinds} reads more than retrained networks give away"
    ),
    RemarkCode.COMPARED: "{attack}: {erased} against {reference}",
    RemarkCode.READ: "{attack}: {read}",
    RemarkCode.HEAD_ONLY: (
        "only what the head says could be judged, and a head can be edited alone"
    ),
    RemarkCode.WEIGHTS_UNCHANGED: (
        "no weight before the eraser changed: whoever holds the weights has the original features"
    ),
    RemarkCode.EARLIER_NOT_TESTED: (
        "earlier layers were not tested, or are others than the original's"
    ),
    RemarkCode.EARLIER_LAYERS: "earlier layers: {verdict}",
    RemarkCode.SAMPLES_NEED: (
        "needs models that never saw the samples (--reference), class scores, labels and unseen"
        " test samples"
    ),
    RemarkCode.NOISE_FINDS: (
        "Somebody who adds tiny noise to an input and watches how far the features move finds"
        " forgotten samples: {read}."
    ),
    RemarkCode.ERASER_COMES_OFF: (
        "Whoever holds the weights takes the eraser off and has the original features, bit for bit."
    ),
    RemarkCode.BEFORE_THE_ERASER: (
        "Whoever holds the weights has the original features before the eraser: those layers are"
        " unchanged."
    ),
    RemarkCode.COPIES: (
        "Copies of the training data, backups, logs, caches and models made from the original are"
        " not touched by this."
    ),
    RemarkCode.OUTPUTS_ONLY: (
        "the audit was given outputs: what needs the models themselves was not tested"
    ),
    RemarkCode.TAKEN_FOR_SCORES: (
        "no linear layer gives the output of the original: its {classes} numbers are taken for"
        " class scores, since the data have {classes} classes; if they are an embedding, pass"
        " feature_layer='output' (--feature-layer output)"
    ),
    RemarkCode.OTHER_REQUEST: (
        "the receipt of the erased model names another request ({names}), so this audit is about"
        " something that its method was not asked to erase"
    ),
    RemarkCode.OTHER_REQUEST_NO_CLASS: (
        "the receipt of the erased model names another request (no class), so this audit is about"
        " something that its method was not asked to erase"
    ),
    RemarkCode.REFERENCE_HAS_SEEN: (
        "{reference} names {share:1} of the forgotten test samples: it seems to have seen them, so"
        " it is no reference and nothing can be measured against it"
    ),
    RemarkCode.SHARED_SAMPLES: (
        "The training and test data of the audit share {count} samples (hashed ids: {ids})."
        " Remove them from one of the two. The figures are not of held-out samples."
    ),
    RemarkCode.HANDS_OUT_FEATURES: (
        "the model hands out {where}, which is still the features of the original, bit for bit"
    ),
    RemarkCode.HANDS_OUT: (
        "the model hands out {where}, which is still what the original returns, bit for bit"
    ),
    RemarkCode.FAKE_DOES_NOT_PASS: "the head-only edit does not pass it",
    RemarkCode.FAKE_PASSES: "the head-only edit reaches {read} with every feature as before",
    RemarkCode.PROBE_AGREES: "it agrees with the converged probe here",
    RemarkCode.PROBE_STOPPED_EARLY: (
        "a converged probe on the same features reads {share:1} more: the published one stopped"
        " early"
    ),
}
