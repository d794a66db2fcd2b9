"""A function mapped over items by the workers of a Ray cluster."""

from unspan.cluster.mapping import mapped
from unspan.cluster.sessions import session

__all__ = ["mapped", "session"]
