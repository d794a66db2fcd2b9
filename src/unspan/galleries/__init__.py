"""Stored vectors: carry a deletion into galleries that a model filled before.

`apply` maps files; a format is one file here and one entry in `formats.py`.
"""

from unspan.galleries.applying import Applied, Check, apply
from unspan.galleries.listing import list_ids

__all__ = ["Applied", "Check", "apply", "list_ids"]
