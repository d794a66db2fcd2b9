"""Data as people have them, and the request: which samples must go."""
