"""Refuse to publish an eraser that tells whose samples were erased."""

from __future__ import annotations

from unspan.errors import UsageError

_TELLING = 0.6  # AUC above which an eraser identifies whom it was fitted to
_FEWEST = 20  # an eraser fitted on fewer samples is close to the embedding of one of them


def check_telling(told: float, allow: bool) -> None:
    """Refuse to publish an eraser that tells the erased samples from others, unless asked.

    Args:
        told: AUC with which it tells them.
        allow: the user asked for it.

    Raises:
        UsageError: above 0.6 and not allowed.
    """
    if told > _TELLING and not allow:
        raise UsageError(
            f"Whoever reads the file can tell the erased samples from others (AUC {told:.2f}): the"
            " eraser has to recognise them. Pass --allow-identifying-projector"
            " (allow_identifying_projector=True) to write it all the same, and keep it private."
        )


def check_identifying(request_samples: int, rank: int | None, allow: bool) -> None:
    """An eraser from very few samples nearly is their embedding: refuse to publish it unless asked.

    Raises:
        UsageError: fewer than max(20, 5 k) samples and not allowed.
    """
    fewest = max(_FEWEST, 5 * (rank or 0))
    if request_samples < fewest and not allow:
        raise UsageError(
            f"The request has {request_samples} samples that differ; an eraser from fewer than"
            f" {fewest} can identify them to whoever reads the file. Pass"
            " --allow-identifying-projector (allow_identifying_projector=True) to write it all the"
            " same."
        )
