"""Every error a user of sentei can cause.

A message names the thing, the value found, what was expected and what to do.
"""


class PruningError(Exception):
    """Base of all errors that sentei raises on purpose."""


class TraceError(PruningError):
    """The model could not be captured; the message names the line that stopped it."""


class UnknownNameError(PruningError):
    """A name (of a model, group, criterion, ...) does not exist."""


class PlanError(PruningError):
    """A removal is not possible: out of range, frozen, unbalanced, or nothing would be left."""


class BudgetError(PruningError):
    """No allocation meets the budget; the message gives the nearest feasible point."""


class VerificationError(PruningError):
    """A pruned network does not compute what the masked original computes."""


class CheckpointError(PruningError):
    """A saved network, run or training state is torn, altered, or of another version."""


class ModelError(PruningError):
    """A model could not be built, or its weights do not fit."""


class DataError(PruningError):
    """A data set is missing, empty, unreadable, or does not fit the model."""


class TrainingError(PruningError):
    """Training cannot go on: a loss that is not finite, a batch too small for batch norm."""


class DeviceError(PruningError):
    """A device or runtime is not there."""


class ExportError(PruningError):
    """A model could not be exported, or the exported file disagrees with the model."""


class EngineError(PruningError):
    """Jobs cannot be run: their task cannot be built, or its workers do not live."""


class ConfigError(PruningError):
    """A configuration has an unknown key, a wrong type, or a number out of range."""


class SpaceError(PruningError):
    """A pruning space is empty, or cannot be described or sampled as asked."""


def check_type(name: str, value: object, expected: type) -> None:
    """Refuse an argument of another type by its name.

    Raises:
        TypeError: ``value`` is no ``expected``.
    """
    if not isinstance(value, expected):
        raise TypeError(f"{name} is a {type(value).__name__}; expected a {expected.__name__}")
