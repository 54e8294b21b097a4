"""Lets the market of one paper broker move on: whenever all orders are settled, with all copies of them.

The market stands from the first order on. It would otherwise move by hours while a follower buys.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import aiohttp

from services.demo.accounts import MASTER
from services.demo.run import AWAY, POLL_SECONDS
from services.local_system.errors import LocalSystemError
from shared.domain.identity import Broker
from shared.persistence.reports.reports import Reports

STANDS_SECONDS: Final = 180.0
"""A market that has stood for so long will not move any more."""
_ALL: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class MarketRelease:
    """The market of one broker. `run` returns when it has reached its end and every order is settled."""

    def __init__(self, broker: Broker, paper_url: str, followers: int, reports: Reports) -> None:
        self._broker = broker
        self._url = paper_url
        self._followers = followers
        self._reports = reports
        self._read_fills = 0
        self._master_fills = 0

    async def run(self, on_time: Callable[[datetime], None]) -> None:
        """Release the market until its end. `on_time` receives its time. Raises LocalSystemError if it stands still."""
        moved_seconds, stood = time.monotonic(), -1
        async with aiohttp.ClientSession(self._url) as session:
            while True:
                try:
                    shown = await self._get(session, "market-clock")
                    on_time(_EPOCH + timedelta(microseconds=shown["now"]))
                    if shown["now"] != stood:
                        moved_seconds, stood = time.monotonic(), shown["now"]
                    is_free = shown["orders"] == shown["released"]
                    if not is_free and await self._is_settled(session):
                        await session.post("/paper/market-clock", json={"released": shown["orders"]})
                    elif is_free and shown["waits_for"] is not None and shown["waits_for"] > shown["until"] == stood:
                        return
                except AWAY:
                    pass
                if time.monotonic() - moved_seconds > STANDS_SECONDS:
                    raise LocalSystemError(
                        f"the market of {self._broker.value} has stood still for {STANDS_SECONDS:.0f} s; the log of "
                        f"strategy_trader-{self._broker.value} may say why"
                    )
                await asyncio.sleep(POLL_SECONDS)

    async def _is_settled(self, session: aiohttp.ClientSession) -> bool:
        """Whether no order is open, and every fill of the master has reached every follower."""
        if (await self._get(session, "health"))["open_orders"]:
            return False
        while found := (await self._get(session, f"fills?since_sequence={self._read_fills}"))["fills"]:
            self._read_fills += len(found)
            self._master_fills += sum(fill["account"] == MASTER for fill in found)
        fills = await asyncio.to_thread(self._reports.fills, self._broker, limit=_ALL)
        settled = [fill for fill in fills if fill.followers >= self._followers and not fill.pending]
        return len(settled) >= self._master_fills

    async def _get(self, session: aiohttp.ClientSession, path: str) -> dict[str, Any]:
        async with session.get(f"/paper/{path}") as reply:
            reply.raise_for_status()
            found: dict[str, Any] = await reply.json()
        return found
