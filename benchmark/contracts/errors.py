"""The errors that a user can act on."""

__all__ = [
    "DatasetMissing",
    "InvalidGuarantee",
    "InvalidRecords",
    "LeakboardError",
    "NotApplicable",
    "Unavailable",
]


class LeakboardError(Exception):
    """Base of the errors that a user can act on: the message says what was wrong, what is allowed, what to type."""


class InvalidRecords(LeakboardError):
    """Records of the wrong shape, type or range."""


class InvalidGuarantee(LeakboardError):
    """A formal claim with a value that no such claim can have, or that leaves open what it is about."""


class DatasetMissing(LeakboardError):
    """A dataset's files are not where they were looked for; the message says where and how to get them."""


class Unavailable(LeakboardError):
    """Something optional is not installed; the message names the extra to install."""


class NotApplicable(LeakboardError):
    """This plugin cannot be used on what it was given (say, an attack that needs a correspondence the release lacks).

    Raised by a plugin at run time; the cell is then shown as ``not applicable`` with the message as its reason.
    """
