"""Erasers: maps on penultimate features, and the mathematics they are made with."""
