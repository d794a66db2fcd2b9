"""Seals and signatures of the folders that unspan writes. Nothing here imports torch."""
