"""One page about an audit, for people: `html` and `markdown` write an `AuditRecord` as text.

The page is one file without scripts or references to anything outside it; every text from data is
shown literally.
"""

from unspan.report.markdown import markdown
from unspan.report.page import html

__all__ = ["html", "markdown"]
