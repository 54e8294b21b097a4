"""Records what keeps a stage's process from its work, for each broker, as its loops report it.

The heartbeat file and the signs of life in Redis are written from it. Pure but for the clock.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from shared.domain.identity import Broker
from shared.observability.heartbeat import Heartbeat

QUIET_SECONDS: Final = 15.0
"""A trouble is over when the work succeeds and nothing has reported the trouble for so long.

A loop that fails, starts again after 5 s, succeeds once and fails again is in trouble all the time.
"""
AWAY_SECONDS: Final = 60.0
"""So long may a server be away before the process says that it cannot do its work: a restart of a server is shorter."""
STUCK_SECONDS: Final = 60.0
"""A loop that has not turned for so long waits for a server without a limit, or hangs: its other waits are shorter."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a process from its work. `since` and `last`: when it was reported first and last."""

    text: str
    since: datetime
    last: datetime


class Duty:
    """The work of a process for one broker, as its loop reports it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._text = ""
        self._since = self._last = 0.0
        self._away_since: float | None = None
        self._turned_at: float | None = None
        self.has_worked = False
        """Whether the work has succeeded once since the start of the process."""

    def turned(self) -> None:
        """The loop came round, whether or not it could do its work. For loops whose every wait has a limit."""
        self._turned_at = self._clock()

    def worked(self) -> None:
        """The work succeeded, or there was none and the servers answer."""
        self.has_worked = True
        self._away_since = None
        if self._text and self._clock() - self._last > QUIET_SECONDS:
            self._text = ""

    def held_up(self, text: str) -> None:
        """Something other than a missing server keeps the process from its work."""
        now = self._clock()
        if not self._text:
            self._since = now
        self._text, self._last = text, now

    def without_server(self, text: str) -> None:
        """Redis or PostgreSQL does not answer, or refuses."""
        self.held_up(text)
        if self._away_since is None:
            self._away_since = self._clock()

    @property
    def trouble(self) -> Trouble | None:
        """What was reported and is not over, or a loop that does not turn."""
        if self._is_stuck and self._turned_at is not None:
            text = "its loop does not turn: it waits for a server that does not answer, or hangs"
            return Trouble(text, self._moment(self._turned_at), datetime.now(UTC))
        return Trouble(self._text, self._moment(self._since), self._moment(self._last)) if self._text else None

    @property
    def obstacle(self) -> str:
        """Why this work cannot be done, once that has lasted; empty: it can, as far as is known."""
        is_away = self._away_since is not None and self._clock() - self._away_since >= AWAY_SECONDS
        trouble = self.trouble
        if trouble is not None and (is_away or self._is_stuck):
            return f"since {trouble.since:%H:%M} UTC: {trouble.text}"
        return "" if self.has_worked else self._text or "it has not begun its work yet"

    @property
    def _is_stuck(self) -> bool:
        return self._turned_at is not None and self._clock() - self._turned_at > STUCK_SECONDS

    def _moment(self, monotonic: float) -> datetime:
        return datetime.now(UTC) - timedelta(seconds=self._clock() - monotonic)


class Vitals:
    """One process: its heartbeat file, and its work for each broker."""

    def __init__(
        self, heartbeat: Heartbeat, brokers: Iterable[Broker], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._heartbeat = heartbeat
        self._duties = {broker: Duty(clock) for broker in brokers}

    def duty(self, broker: Broker) -> Duty:
        """The work for that broker."""
        return self._duties[broker]

    def without_server(self, text: str) -> None:
        """A server that the work for every broker needs does not answer, or refuses."""
        for duty in self._duties.values():
            duty.without_server(text)

    @property
    def obstacle(self) -> str:
        """Why the process can do no work for any broker; empty: it can for some."""
        obstacles = [duty.obstacle for duty in self._duties.values()]
        return "" if not obstacles or "" in obstacles else obstacles[0]

    def beat(self) -> None:
        """Write the heartbeat file. Raises OSError when it cannot be written."""
        self._heartbeat.beat(self.obstacle)
