"""Errors a user can act on. Every text is one clear sentence (or two) that says what to do next.

The library raises these; only the command line turns them into a printed message and an exit code.
"""


class HdrvidError(Exception):
    """Base of every error whose text is meant for the user. Exit code 1."""

    exit_code = 1


class InputError(HdrvidError):
    """A clip, frame, exposure file or response file that cannot be used as it is."""


class ExposureError(HdrvidError):
    """The exposure cycle could not be found, or what was declared cannot be right."""


class ModelError(HdrvidError):
    """An unknown model, a damaged weights file, or one that does not fit the clip."""


class OutputError(HdrvidError):
    """The result cannot be written: missing permission, full disk, or a folder in the way."""


class UsageError(HdrvidError):
    """Options that contradict each other or have no meaning. Exit code 2."""

    exit_code = 2
