"""Errors a user can act on: each says what is wrong, where, and how to fix it.

The exit code of the command line is a property of the error class, so scripts and CI can branch on
it.
"""


class UnspanError(Exception):
    """Base of every error raised on purpose. `exit_code` is what the command returns."""

    exit_code = 1


class UsageError(UnspanError):
    """A wrong argument or an impossible setting (exit 2)."""

    exit_code = 2


class DamagedRecord(UsageError):
    """A file that unspan wrote, with a field that is missing or of another type (exit 2)."""


class DataError(UnspanError):
    """The data does not allow what was asked (exit 3)."""

    exit_code = 3


class NotFinite(DataError):
    """A model gives NaN or infinity for a sample (exit 3)."""


class ModelError(UnspanError):
    """A model file or model object that cannot be used (exit 4)."""

    exit_code = 4


class OtherVersionError(ModelError):
    """A folder that another version of unspan wrote (exit 4)."""


class UnsafeFileError(UnspanError):
    """A file that is refused because reading it could run code or leave its folder (exit 5)."""

    exit_code = 5


class InconclusiveError(UnspanError):
    """The run finished without a usable result, for example a mask that changed nothing (exit
    7).
    """

    exit_code = 7


class OutputError(UnspanError):
    """The result could not be written; what was there before is intact (exit 8)."""

    exit_code = 8


class ResourceError(UnspanError):
    """Out of memory, a dead worker or rank, or an interrupt (exit 9)."""

    exit_code = 9
