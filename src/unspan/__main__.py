"""`python -m unspan`, for torchrun."""

from unspan.cli import main

main()
