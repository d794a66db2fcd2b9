"""What an audit says of its measurements: codes with the numbers in them, never sentences.

`report/words/remarks.py` has the words of every code, and `report/statements.py` draws them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unspan.system.text_enum import TextEnum


class RemarkCode(TextEnum):
    """Everything an audit may say; the words of each name the values that it carries."""

    # why one kind of attacker has its word
    LESS_THAN_RETRAINED = "less_than_retrained"
    BAND_TOO_WIDE = "band_too_wide"
    BAND_TOO_WIDE_HERE = "band_too_wide_here"
    MORE_BUT_LITTLE = "more_but_little"
    FAILS_ON_RETAINED = "fails_on_retained"
    ONLY_RETRAINED_TELL = "only_retrained_tell"
    STILL_NAMED = "still_named"
    NO_MORE_THAN_GUESSING = "no_more_than_guessing"
    SAMPLES_WOULD_DECIDE = "samples_would_decide"
    NETWORKS_WOULD_DECIDE = "networks_would_decide"
    EITHER_WOULD_DECIDE = "either_would_decide"
    NOTHING_WOULD_DECIDE = "nothing_would_decide"
    NETWORKS_VARY = "networks_vary"
    NOT_GIVEN_AWAY = "not_given_away"
    GIVEN_AWAY_SINCE = "given_away_since"
    TOO_FEW_SAMPLES = "too_few_samples"
    # the measurement behind a level
    NO_SCORES = "no_scores"
    OWN_SCORES = "own_scores"
    FOUND_BY_SEARCH = "found_by_search"
    LARGEST_AFTER_CAST = "largest_after_cast"
    RENAMED = "renamed"
    HEAD_ALONE_REACHES_IT = "head_alone_reaches_it"
    NOT_MEASURED = "not_measured"
    AFFINE = "affine"
    NEEDS_RETRAINED = "needs_retrained"
    NONE_TELLS = "none_tells"
    MORE_THAN_RETRAINED = "more_than_retrained"
    UNDECIDED = "undecided"
    NONE_READS_MORE = "none_reads_more"
    COMPARED = "compared"
    READ = "read"
    HEAD_ONLY = "head_only"
    WEIGHTS_UNCHANGED = "weights_unchanged"
    EARLIER_NOT_TESTED = "earlier_not_tested"
    EARLIER_LAYERS = "earlier_layers"
    SAMPLES_NEED = "samples_need"
    # what an attacker can do beside the attacks
    NOISE_FINDS = "noise_finds"
    ERASER_COMES_OFF = "eraser_comes_off"
    BEFORE_THE_ERASER = "before_the_eraser"
    COPIES = "copies"
    # warnings
    OUTPUTS_ONLY = "outputs_only"
    TAKEN_FOR_SCORES = "taken_for_scores"
    OTHER_REQUEST = "other_request"
    OTHER_REQUEST_NO_CLASS = "other_request_no_class"
    REFERENCE_HAS_SEEN = "reference_has_seen"
    SHARED_SAMPLES = "shared_samples"
    HANDS_OUT_FEATURES = "hands_out_features"
    HANDS_OUT = "hands_out"
    # whether a fake passes a score
    FAKE_DOES_NOT_PASS = "fake_does_not_pass"
    FAKE_PASSES = "fake_passes"
    PROBE_AGREES = "probe_agrees"
    PROBE_STOPPED_EARLY = "probe_stopped_early"


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number in a remark.

    Attributes:
        value: the number, None where it could not be measured.
        low: lower end of its 95 % interval, None where there is none.
        high: upper end.
        unit: `share` or `AUC`.
        n: samples behind it, 0 where that says nothing.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "share"
    n: int = 0


Value = str | int | float | Quantity


@dataclass(frozen=True)
class Remark:
    """One thing that an audit says.

    Attributes:
        code: what.
        values: what its words name, by name: a count, a share, a name or a measurement.
    """

    code: RemarkCode
    values: dict[str, Value] = field(default_factory=dict)


def remark(code: RemarkCode, **values: Value) -> Remark:
    """A remark with its values."""
    return Remark(code, values)
