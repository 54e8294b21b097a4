"""The states of watching a master account, as the master trader reports them and `nija status` shows them."""

from enum import StrEnum


class MasterState(StrEnum):
    """How the master trader gets on with a master account."""

    WATCHING = "watching"
    """The account is polled, and its fills are published."""
    WAITING = "waiting"
    """The last poll failed for a reason that passes: the broker, Redis or PostgreSQL does not answer, a rate limit."""
    FAILED = "failed"
    """A person has to act: a refused key, a stream that lost data, a fill that contradicts itself."""
    STOPPED = "stopped"
    """The process ended in good order."""
