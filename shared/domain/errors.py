"""Defines the root of nija's errors, and the errors that the pure domain raises."""

from pydantic import ValidationError

_MOST_PROBLEMS = 5


def problems_of(error: ValidationError, what: str) -> str:
    """Return in one line what is wrong with data that pydantic refused, without repeating the data.

    `what` names the data as a whole, for a problem that belongs to no single field. Five problems are enough.
    """
    problems = error.errors(include_url=False, include_context=False, include_input=False)[:_MOST_PROBLEMS]
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or what}: {problem['msg']}" for problem in problems)


class NijaError(Exception):
    """Root of every error that nija raises on purpose; its text is fit to show to a user."""


class InvalidFollowerId(NijaError, ValueError):
    """A follower id that could not be a key, a column and a label alike."""


class InvalidSymbol(NijaError, ValueError):
    """A text that names no pair."""


class InvalidAmount(NijaError, ValueError):
    """An amount that is not an exact decimal (a JSON float, NaN, infinity)."""


class ImpossibleFill(NijaError):
    """A fill that contradicts itself (no quantity, no price), so nothing may be derived from it."""


class HostUnknown(NijaError):
    """The name of a server cannot be resolved: a mistake, unless a private network is just being set up."""


class InvalidParameter(NijaError, ValueError):
    """A parameter of the strategy that does not exist, or a value that it cannot have."""
