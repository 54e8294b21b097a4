"""The errors that actions raise themselves; those of the stores pass through them."""

from shared.domain.errors import NijaError


class ActionRefused(NijaError):
    """The action breaks a rule, and nothing was changed. The text says which rule."""


class KeyNotUsable(ActionRefused):
    """The key is missing, malformed, or may not be used for a follower."""


class NothingToCheck(ActionRefused):
    """There is no key that the check could ask about."""
