"""Measures how far a broker's clock is from ours, from the times in replies that arrive anyway.

A `Date` header names a whole second, so each reply bounds the offset to an interval of about a second. The intervals of
several replies together bound it to about the time that a request takes.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from time import time
from typing import Final

MOST_SECONDS_OFF: Final = 86_400.0
"""A larger difference means that the server's time is wrong and cannot be used."""
BOUNDS_LAST_SECONDS: Final = 600.0
"""Clocks drift, so older replies no longer count."""
HEADER_RESOLUTION_SECONDS: Final = 1.0


class BrokerClock:
    """The clock of one broker, shared by all accounts of a process."""

    __slots__ = ("_highest", "_lowest", "_since")

    def __init__(self) -> None:
        self._lowest = self._highest = 0.0
        self._since = 0.0

    @property
    def offset_seconds(self) -> float:
        """The broker's time minus ours. It is 0 as long as the replies are consistent with equal clocks."""
        if self._lowest <= 0.0 <= self._highest:
            return 0.0
        return (self._lowest + self._highest) / 2

    def observe(self, date_header: str | None, sent_at: float, received_at: float) -> None:
        """Take in the `Date` header of a reply, and the times by our clock (seconds since 1970) around the request."""
        theirs = header_time(date_header or "")
        if theirs is None or received_at < sent_at:
            return
        lowest, highest = theirs - received_at, theirs + HEADER_RESOLUTION_SECONDS - sent_at
        if max(abs(lowest), abs(highest)) > MOST_SECONDS_OFF:
            return
        is_old = received_at - self._since > BOUNDS_LAST_SECONDS or received_at < self._since
        if is_old or lowest > self._highest or highest < self._lowest:
            # Old bounds no longer count, and bounds that contradict the reply are from before a clock was set.
            self._lowest, self._highest, self._since = lowest, highest, received_at
        else:
            self._lowest, self._highest = max(self._lowest, lowest), min(self._highest, highest)

    def time(self) -> float:
        """The broker's time now, in seconds since 1970."""
        return time() + self.offset_seconds

    def now(self) -> datetime:
        """The broker's time now."""
        return self.at(datetime.now(UTC))

    def at(self, ours: datetime) -> datetime:
        """The broker's time at a time of ours."""
        return ours + timedelta(seconds=self.offset_seconds)


def header_time(text: str) -> float | None:
    """The time of a `Date` header, in seconds since 1970; None for anything else."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError):
        return None
