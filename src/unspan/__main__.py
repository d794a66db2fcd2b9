"""`python -m unspan`, for torchrun. Modules in the working directory are not imported."""

from unspan.cli import main

if __name__ == "__main__":
    main()
