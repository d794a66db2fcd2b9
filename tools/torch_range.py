"""Print what to install for one end of the range of torch that pyproject.toml allows.

pip install "torch$(python tools/torch_range.py oldest)"
"""

import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def torch_range(end: str, project: str) -> str:
    """`==2.6.0` for `oldest`, the range itself for `newest`."""
    found = re.search(r'"torch>=([\d.]+),<([\d.]+)"', project)
    if found is None:
        raise SystemExit('pyproject.toml has no dependency of the form "torch>=A.B,<C".')
    lowest, limit = found.groups()
    if end == "oldest":
        return f"=={lowest}" if lowest.count(".") == 2 else f"=={lowest}.0"
    return f">={lowest},<{limit}"


if __name__ == "__main__":
    print(torch_range(sys.argv[1], PROJECT.read_text("utf-8")))
