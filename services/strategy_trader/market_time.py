"""Provides the time that a trader's cycles and decisions follow: that of this machine, or of a paper market in the past.

A paper market stands until its trader waits for a later moment, and moves there at once. So a trader decides on each
candle of two days within minutes. All that has a real duration follows the time of the machine: leases, ages of readings,
deadlines and limits of orders. This module changes the clock and the wait of a trader, and none of its rules.
"""

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from types import TracebackType
from typing import Any, Final, Protocol, Self

import aiohttp
import structlog

from shared.domain.errors import NijaError
from shared.persistence.errors import DatabaseUnavailable
from shared.queries.capital.sources import utc_now
from shared.running import wait

HELD_SECONDS: Final = 0.1
"""From one question to the next while the market stands for orders."""
LONGEST_WAIT_SECONDS: Final = 5.0
"""After that the trader reports that it lives, and waits again."""
_ANSWER_SECONDS: Final = 10.0
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

log = structlog.get_logger()


class NoPaperMarket(NijaError):
    """The address is not that of a paper broker whose market is in the past."""


class MarketTime(Protocol):
    """The time of a market's candles."""

    def now(self) -> datetime:
        """The present time of the market."""
        ...

    def at(self, moment: datetime) -> datetime:
        """The time of the market at a past moment of the machine."""
        ...


class WaitFor(Protocol):
    """Waits until the market reaches a moment, until the event is set, or for some seconds at most."""

    async def __call__(self, event: asyncio.Event, moment: datetime) -> None: ...


class MachineTime:
    """A real market: its time is that of the machine."""

    now = staticmethod(utc_now)

    def at(self, moment: datetime) -> datetime:
        return moment


MACHINE_TIME: Final = MachineTime()


class PaperMarketTime:
    """The time of a paper broker's market in the past. `async with PaperMarketTime(…) as time`."""

    def __init__(self, base_url: str, unfinished: Callable[[], object]) -> None:
        """`unfinished`: returns the decisions that are being carried out. The market stands for them. It blocks."""
        self._url = base_url
        self._session = aiohttp.ClientSession(base_url, timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS))
        self._unfinished = unfinished
        self._moves = MarketMoves()

    async def __aenter__(self) -> Self:
        """Read the time of the market. Raises NoPaperMarket where there is none in the past."""
        try:
            self._follow(await self._ask("GET"))
        except (aiohttp.ClientError, OSError) as error:
            await self._session.close()
            raise NoPaperMarket(
                f"NIJA_PAPER_MARKET_CLOCK is on, but {self._url} is no paper broker with a market in the past: {error}; "
                "leave NIJA_PAPER_MARKET_CLOCK out"
            ) from None
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    def now(self) -> datetime:
        """The time of the market. It moves only while `wait_for` waits."""
        return self._moves.now()

    def at(self, moment: datetime) -> datetime:
        """The time of the market at a past moment of the machine."""
        return self._moves.at(moment)

    async def wait_for(self, event: asyncio.Event, moment: datetime) -> None:
        """Let the market move to a moment, as soon as no order of this market is under way."""
        wanted = {"wait_for": (moment - _EPOCH) // _MICROSECOND}
        ends_seconds = monotonic() + LONGEST_WAIT_SECONDS
        while not event.is_set() and monotonic() < ends_seconds:
            try:
                if not await asyncio.to_thread(self._unfinished):
                    self._follow(await self._ask("POST", wanted))
            except (aiohttp.ClientError, DatabaseUnavailable, OSError) as error:
                log.warning("the market's time is not known", error=str(error) or type(error).__name__)
            if self.now() >= moment:
                return
            await wait(event, HELD_SECONDS)

    async def _ask(self, method: str, document: dict[str, int] | None = None) -> int:
        async with self._session.request(method, "/paper/market-clock", json=document) as reply:
            reply.raise_for_status()
            found: dict[str, Any] = await reply.json()
        return int(found["now"])

    def _follow(self, microseconds: int) -> None:
        self._moves.add(datetime.now(UTC), _EPOCH + microseconds * _MICROSECOND)


class MarketMoves:
    """The moves of a market: since when, by the machine, it has stood where."""

    def __init__(self) -> None:
        self._since: list[datetime] = []
        self._stood: list[datetime] = []

    def add(self, since: datetime, market: datetime) -> None:
        """Note where the market stands now."""
        if not self._stood or market != self._stood[-1]:
            self._since.append(since)
            self._stood.append(market)

    def now(self) -> datetime:
        """Return where the market stands."""
        return self._stood[-1]

    def at(self, moment: datetime) -> datetime:
        """Return where the market stood at a moment. What was before the first move counts as the first place."""
        return self._stood[max(bisect_right(self._since, moment) - 1, 0)]
