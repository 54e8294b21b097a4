"""The errors that actions raise themselves. Those of the stores pass through the actions."""

from shared.domain.errors import NijaError


class ActionRefused(NijaError):
    """The action breaks a rule, and nothing was changed. The text says which rule."""


class KeyNotUsable(ActionRefused):
    """The key is missing, malformed, or may not be used for a follower."""


class ChangeNotAnnounced(NijaError):
    """The change was stored, and Redis failed before the stages were notified. Do not make the change again."""


class ChangeNotRead(NijaError):
    """The change was stored and announced, and PostgreSQL failed before its result was read."""


class NothingToCheck(ActionRefused):
    """There is no key that the check could ask about."""


class OrderUnsettled(ActionRefused):
    """An order of the follower has no known outcome, and only its key can look it up."""
