"""How far an account has been read, and from where the next reading begins. Pure but for its own memory.

Enters: the checkpoint, and what each look found. Leaves: the moment from which to read next, and what is known.
"""

from datetime import datetime, timedelta
from typing import Final

from services.master_trader.poll import Sighting

OVERLAP: Final = timedelta(seconds=300)
"""How late after its execution a fill may become visible and still be found."""


class Progress:
    """One process's memory of what it has seen; the ledger's unique key stands behind it."""

    def __init__(self, watched_since: datetime, read_until: datetime, known: set[str], now_seconds: float) -> None:
        self.watched_since = watched_since
        self.read_until = read_until
        self.known = known
        self._overlap = OVERLAP
        self._news_at_seconds = now_seconds

    @property
    def since(self) -> datetime:
        """From where to read next."""
        return max(self.read_until - self._overlap, self.watched_since)

    def learn(self, sighting: Sighting, looked_at_seconds: float) -> bool:
        """Take in what was recorded and published; return whether `read_until` moved.

        `looked_at_seconds` is a monotonic clock's reading from before the look: wall clocks jump, and a jump
        would make us read from a moment that the broker has not reached, past fills that it has yet to report.
        """
        before = self.read_until
        # Also those that were left out of `new`, because they are copies.
        is_news = any(fill.fill_id not in self.known for fill in sighting.fills)
        # Ids outside the window are forgotten: the window only moves forward.
        self.known = {fill.fill_id for fill in sighting.fills}
        self.read_until = max([before, *(fill.executed_at for fill in sighting.fills)])
        if is_news:
            self._overlap = OVERLAP
            self._news_at_seconds = looked_at_seconds
        elif looked_at_seconds - self._news_at_seconds >= OVERLAP.total_seconds():
            # All that was executed before the newest fill is visible by now; after a burst of trading there is
            # no need to read its pages again and again until the next one.
            self._overlap = timedelta(0)
        return self.read_until > before
