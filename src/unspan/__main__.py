"""`python -m unspan`, for torchrun. Modules in the working directory are not imported."""

import os
import sys

if sys.path and sys.path[0] in ("", os.getcwd()):
    del sys.path[0]

from unspan.cli import main  # noqa: E402

if __name__ == "__main__":
    main()
