"""Keeps the instruments that a broker lists up to date in one process.

The master's process publishes new listings every hour. A worker that loaded its markets only once would not know them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

import structlog

from shared.brokers.errors import BrokerError
from shared.domain.instrument import Instrument
from shared.domain.symbol import Symbol
from shared.running import wait

EVERY_SECONDS = 3600.0
AT_MOST_EVERY_SECONDS = 60.0
"""The shortest time between two readings, however many orders name symbols that are not listed, or are refused."""

log = structlog.get_logger()


class Listing:
    """The instruments of one broker in one process. Create it when they have just been loaded."""

    def __init__(
        self, instruments: Callable[[], Mapping[Symbol, Instrument]], reload: Callable[[], Awaitable[None]]
    ) -> None:
        """`reload` asks the broker again. If it raises BrokerError, the old listings stay."""
        self._instruments = instruments
        self._reload = reload
        self._missed = asyncio.Event()
        self.read_at = datetime.now(UTC)
        """When the present listings were requested from the broker."""

    def find(self, symbol: Symbol) -> Instrument | None:
        """Return the instrument, or None when the symbol is not listed as far as is known. Then the broker is asked
        again soon.
        """
        instrument = self._instruments().get(symbol)
        if instrument is None:
            self._missed.set()
        return instrument

    def doubt(self) -> None:
        """Have the broker asked again soon, because it has refused an order. It may list another tick, lot or minimum."""
        self._missed.set()

    async def keep_fresh(self) -> None:
        """Ask again every hour, or soon after a symbol was missed or an order was refused, until cancelled."""
        while True:
            # Spread over time, so that not all processes ask at once.
            apart = random.uniform(1.0, 1.2)  # noqa: S311
            await wait(self._missed, EVERY_SECONDS * apart)
            self._missed.clear()
            asked_at = datetime.now(UTC)
            try:
                await self._reload()
            except BrokerError as error:
                log.warning("markets not loaded again; what was listed stays", error=str(error))
            except Exception:
                # A defect. Orders continue with the old listings.
                log.exception("markets not loaded again")
            else:
                self.read_at = asked_at
            await asyncio.sleep(AT_MOST_EVERY_SECONDS * apart)
