"""The root of what goes wrong, and the errors that the pure domain raises."""


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
