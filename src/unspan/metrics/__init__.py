"""Scores on cached outputs: pure functions of tensors, each with value, interval, unit, direction,
split and n.
"""
