"""What the broker lists, kept up to date: a connection's instruments and its reload in, the instrument of a symbol out.

The master's process publishes new listings every hour, so a worker that loaded its markets once would not know them.
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
"""However many orders name symbols that are not listed."""

log = structlog.get_logger()


class Listing:
    """One process's instruments of one broker. Made when they have just been loaded."""

    def __init__(
        self, instruments: Callable[[], Mapping[Symbol, Instrument]], reload: Callable[[], Awaitable[None]]
    ) -> None:
        """`reload`: has the broker asked again; raises BrokerError, and what was listed stays."""
        self._instruments = instruments
        self._reload = reload
        self._missed = asyncio.Event()
        self.read_at = datetime.now(UTC)
        """When the broker was asked for what is listed now."""

    def find(self, symbol: Symbol) -> Instrument | None:
        """The instrument; None: not listed as far as is known, and the broker is asked again soon."""
        instrument = self._instruments().get(symbol)
        if instrument is None:
            self._missed.set()
        return instrument

    async def keep_fresh(self) -> None:
        """Ask again every hour, or when a symbol is missed, for ever."""
        while True:
            # Not in step with the other processes.
            apart = random.uniform(1.0, 1.2)  # noqa: S311
            await wait(self._missed, EVERY_SECONDS * apart)
            self._missed.clear()
            asked_at = datetime.now(UTC)
            try:
                await self._reload()
            except BrokerError as error:
                log.warning("markets not loaded again; what was listed stays", error=str(error))
            except Exception:
                # A defect. Orders go on with what was listed.
                log.exception("markets not loaded again")
            else:
                self.read_at = asked_at
            await asyncio.sleep(AT_MOST_EVERY_SECONDS * apart)
