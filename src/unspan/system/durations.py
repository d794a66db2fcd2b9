"""How long something takes, in words."""


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(42), duration(600), duration(10_000)
    ('42 s', '10 min', '2.8 h')
    """
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
