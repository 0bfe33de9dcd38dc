"""The errors that a person can cause or cure; the command line shows their text and no trace.

TrainingError
├── ConfigError      a configuration or an option does not hold
├── DataError        images are missing or not what their name promises
├── RunError         a run folder is in the wrong state for what was asked
├── CheckpointError  a checkpoint cannot be read or does not fit
└── DivergedError    the loss is no longer a finite number
"""

import shlex
from pathlib import Path


class TrainingError(Exception):
    """Base of all errors with a text for the user: the rule, what was received, what to do."""

    exit_code = 1


class ConfigError(TrainingError):
    """A configuration file or a `--set` option breaks a rule."""

    exit_code = 2


class DataError(TrainingError):
    """Images cannot be read, or differ from those that a run was started with."""


class RunError(TrainingError):
    """A run folder is missing, not empty, or in another state than the command needs."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, damaged, or of another shape than its configuration says."""


class DivergedError(TrainingError):
    """Loss or weights became infinite or not a number."""


def as_typed(path: Path) -> str:
    """A path in a command that people copy: quoted where it has spaces or the like."""
    return shlex.quote(str(path))
