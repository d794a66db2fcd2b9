"""The four words of an audit and the thresholds behind them: on rho, on rho, and on what original
and reference differ by.
"""

ERASED, RETAINED, INCONCLUSIVE, NOT_MEASURABLE = (
    "ERASED AT THIS LEVEL",
    "RETAINED",
    "INCONCLUSIVE",
    "NOT MEASURABLE",
)
MARK = {ERASED: "yes", RETAINED: "no", INCONCLUSIVE: "open", NOT_MEASURABLE: "none"}
ERASED_BELOW, RETAINED_ABOVE, ROOM = 0.10, 0.25, 0.10
