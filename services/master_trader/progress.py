"""Remembers how far an account has been read, and decides from where the next poll reads. Pure except for its memory."""

from datetime import datetime, timedelta
from typing import Final

from services.master_trader.poll import Sighting

OVERLAP: Final = timedelta(seconds=300)
"""How late after its execution a fill may become visible and still be found."""


class Progress:
    """One process's memory of what it has seen. The unique key in the ledger is the safeguard behind it."""

    def __init__(self, watched_since: datetime, read_until: datetime, known: set[str], now_seconds: float) -> None:
        self.watched_since = watched_since
        self.read_until = read_until
        self.known = known
        self._overlap = OVERLAP
        self._news_at_seconds = now_seconds

    @property
    def since(self) -> datetime:
        """The moment from which to read next."""
        return max(self.read_until - self._overlap, self.watched_since)

    def learn(self, sighting: Sighting, polled_at_seconds: float) -> bool:
        """Add what was recorded and published. Return whether `read_until` moved.

        `polled_at_seconds` is the monotonic clock before the poll. Wall clocks jump. After a jump, reading could begin
        at a moment that the broker has not reached, and miss fills that it has yet to report.
        """
        before = self.read_until
        # This includes fills that are not in `new` because they are copies.
        is_news = any(fill.fill_id not in self.known for fill in sighting.fills)
        # Ids outside the window are forgotten, because the window only moves forward.
        self.known = {fill.fill_id for fill in sighting.fills}
        # A fill that is held back must be found again, also by the next process.
        until = sighting.held_from
        self.read_until = max(
            [before, *(fill.executed_at for fill in sighting.fills if until is None or fill.executed_at <= until)]
        )
        if is_news:
            self._overlap = OVERLAP
            self._news_at_seconds = polled_at_seconds
        elif polled_at_seconds - self._news_at_seconds >= OVERLAP.total_seconds():
            # Everything executed before the newest fill is visible by now. After a burst of trading, its pages need not
            # be read again and again until the next fill.
            self._overlap = timedelta(0)
        return self.read_until > before
