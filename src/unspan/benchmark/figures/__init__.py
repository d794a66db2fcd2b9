"""Figures of a benchmark from the JSON of its cells, each as SVG and PDF."""

from unspan.benchmark.figures.files import alternative, save

__all__ = ["alternative", "save"]
