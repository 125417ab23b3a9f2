"""Errors a user can act on. Each message says what was wrong, where, what is allowed, what to do."""


class EeleError(Exception):
    """Base of every error shown to the user as one message, without a traceback (exit 1)."""

    exit_code = 1


class ConfigError(EeleError):
    """The config, a cell or a command line is wrong (exit 2)."""

    exit_code = 2


class DataError(EeleError):
    """A corpus, recording, transcript, alignment or feature file is unusable."""


class MissingToolError(EeleError):
    """A program or package that a stage needs is not installed."""


class CheckpointError(EeleError):
    """A checkpoint or adapter does not belong to the model, or is damaged."""
