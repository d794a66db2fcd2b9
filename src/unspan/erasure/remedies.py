"""What a user can change after a refusal: settings of the method that still can go further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from unspan.methods import Method
from unspan.methods.settings import settings_of


def remedy(method: Method, figures: Mapping[str, Any]) -> str:
    """What makes a method remove more: settings that still can be raised or lowered."""
    own = method.remedy(figures)
    if own:
        return own
    values, limits = settings_of(method), method.limits(figures)
    told = []
    for name in method.stronger:
        value, most = values.get(name), limits.get(name)
        if value is None and most is not None:
            told.append(f"set {name}={most:g}")
        elif value is not None and (most is None or value < most):
            end = "" if most is None else f", at most {most:g}"
            told.append(f"raise {name} (now {value:g}{end})")
    if not told and any(values.get(name) is None for name in method.stronger):
        told = [f"raise {name}" for name in method.stronger if name not in limits]
    told += [f"lower {name} (now {values[name]:g})" for name in method.stronger_when_lower]
    if not told:
        return "Choose another method (unspan methods)"
    advice = " or ".join(told)
    return advice[0].upper() + advice[1:]


def to_change(method: Method, figures: Mapping[str, Any]) -> str:
    """The settings that make a method do more, with their values: `lr (now 0.01) or epochs`."""
    values, limits = settings_of(method), method.limits(figures)
    spent = {name for name, most in limits.items() if values.get(name) == most}
    names = [one for one in (*method.stronger, *method.stronger_when_lower) if one not in spent]
    known = [(name, values.get(name)) for name in names]
    told = [f"{name} (now {value:g})" for name, value in known if value is not None]
    return " or ".join(told or names)
