"""The four words of an audit and its thresholds, for pages about audits that do not carry their own.

The audit itself owns them (`unspan.auditing.reading`) and stands above this package; a test holds both together.
"""

ERASED, RETAINED, INCONCLUSIVE, NOT_MEASURABLE = "ERASED AT THIS LEVEL", "RETAINED", "INCONCLUSIVE", "NOT MEASURABLE"
MARK = {ERASED: "yes", RETAINED: "no", INCONCLUSIVE: "open", NOT_MEASURABLE: "none"}
ERASED_BELOW, RETAINED_ABOVE, ROOM = 0.10, 0.25, 0.10
