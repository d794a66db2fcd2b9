"""Erase, save, load, verify and export over networks, dtypes, requests and methods.

`python -m matrix` runs every cell and `make matrix` starts it; a selection runs with the tests.
"""
