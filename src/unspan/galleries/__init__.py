"""Stored vectors: carry a deletion into galleries that a model filled before.

`apply` maps files; a format is one file here and one entry in `formats.py`.
"""

from unspan.galleries.applying import Applied, apply

__all__ = ["Applied", "apply"]
