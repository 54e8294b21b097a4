"""Defines the states of watching a master account, which the master trader reports and `nija status` shows."""

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
