"""The one form in which unspan writes JSON that is hashed."""

from __future__ import annotations

import json
from typing import Any


def canonical(content: Any) -> str:
    """JSON with sorted keys and no NaN: the same content gives the same bytes."""
    return json.dumps(content, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
