"""The benchmark: a grid of deletions in one TOML file, one JSON per cell, and every table and
figure a view of those files.
"""
