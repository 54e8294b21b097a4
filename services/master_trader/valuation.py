"""Knows what a master's account holds and is worth: it keeps the books, and has the account read when that is due.

The readings of the account follow the publication of fills and never precede it. The first one after a start, or after
a time without polls, is the exception: without it there are no books.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

import structlog

from services.master_trader.books import JUST_BEFORE, MasterBooks
from services.master_trader.held_sales import HeldSales
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.poll import Reading, Sighting, read_account, read_fills, sight, take_stock
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.equity import DOLLARS
from shared.domain.accounts.master_value import UnknownEquity
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill
from shared.persistence.ledger.master_fills import ObservedFill

READING_SECONDS: Final = 60.0
AFTER_FILLS_SECONDS: Final = 10.0
"""When the account is read after new fills. The books are right without it; `nija status` shows the reading."""
BOOKS_LAST_SECONDS: Final = 60.0
"""How long books may go without a poll. Another process may have published fills that leave the window of polls."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Pending:
    """A reading that the next poll confirms, if it shows no fill whose place before or after it is unclear."""

    reading: Reading
    read_from: datetime
    """When the request was to be sent. The rate limits may have made it wait."""
    read_to: datetime
    held: tuple[ObservedFill, ...]


class Valuation:
    """One process's knowledge of the account. `now`: the time of the broker."""

    def __init__(self, price_list: MasterPriceList, held_sales: HeldSales, now: Callable[[], datetime]) -> None:
        self.held_sales = held_sales
        self._price_list = price_list
        self._now = now
        self._books: MasterBooks | None = None
        self._pending: _Pending | None = None
        self._last_equity = ZERO
        """US dollars, at the last reading."""
        self._polled_seconds = monotonic()
        self._due_seconds = 0.0

    @property
    def books(self) -> MasterBooks:
        """The books as of the last poll."""
        if self._books is None:
            raise RuntimeError("poll() comes first")
        return self._books

    def begin(self) -> None:
        """Continue after an interruption."""
        self._due_seconds = 0.0
        if monotonic() - self._polled_seconds > BOOKS_LAST_SECONDS:
            self._books = self._pending = None

    async def poll(self, account: BrokerAccount, since: datetime) -> tuple[tuple[AccountFill, ...], Reading | None]:
        """Read the fills from `since` on, and count them in the books.

        Returns them, and the reading that was needed if there were no books.
        """
        reading: Reading | None = None
        await self._price_list.read()
        if self._books is None:
            stock = await take_stock(account, since, self._now, self._price_list)
            fills, reading = stock.fills, stock.reading
            self._books = MasterBooks(reading.totals, reading.account.taken_at, fills)
            if stock.agreed:
                self._wait_for_next()
                self._take_equity(reading)
            else:
                log.warning("the account traded faster than it could be read", fills=len(fills))
                # The books may be off by a trade, so the account is read again at once.
                self._due_seconds = 0.0
        else:
            fills = await read_fills(account, since)
            self._confirm(fills)
            self._books.count(fills)
        self._polled_seconds = monotonic()
        self._price_list.learn_fills(fills)
        return fills, reading

    def sight(
        self,
        connection: BrokerConnection,
        fills: Sequence[AccountFill],
        known: set[str],
        watched_since: datetime,
    ) -> Sighting:
        """Find the new ones of the fills of the last poll, and the equity before each, from the books."""
        traded = {currency for fill in fills for currency in (*fill.symbol.currencies, fill.fee_currency)}
        prices = self._price_list.at((self.books.totals.keys() | traded) - DOLLARS - {""}, self._now())
        sighting = sight(
            connection,
            fills,
            self.books,
            prices,
            known=known,
            watched_since=watched_since,
            last_read=self._last_equity - self.books.fees_since_reading(prices),
        )
        if sighting.new:
            self._due_seconds = min(self._due_seconds, monotonic() + AFTER_FILLS_SECONDS)
        if any(isinstance(observed.equity_before, UnknownEquity) for observed in sighting.new):
            self._due_seconds = 0.0
        return sighting

    @property
    def is_due(self) -> bool:
        """Whether the account is to be read."""
        is_due = monotonic() >= self._due_seconds and self.has_prices
        return is_due or (self.held_sales.needs_reading and self._pending is None)

    @property
    def has_prices(self) -> bool:
        """Whether a reading shows what the account is worth. There is no price list if the lister has just started."""
        return self._price_list.is_listed

    async def read(self, account: BrokerAccount, fills: Sequence[AccountFill]) -> Reading:
        """Read the account. `fills`: those of the last poll."""
        read_from = self._now()
        reading = await read_account(account, fills, read_from, self._price_list)
        self._pending = _Pending(reading, read_from, self._now(), self.held_sales.waiting)
        self._wait_for_next()
        return reading

    def still_unpriced(self, new: Sequence[ObservedFill]) -> set[str]:
        """The assets without a price that keep the equity before one of `new` unknown."""
        named = {asset for o in new if isinstance(o.equity_before, UnknownEquity) for asset in o.equity_before.unpriced}
        prices = self._price_list.at(named, self._now())
        return {asset for asset in named if asset not in prices.ignored and prices.of(asset) is None}

    def _wait_for_next(self) -> None:
        if self.has_prices:
            self._due_seconds = monotonic() + READING_SECONDS

    def _take_equity(self, reading: Reading) -> None:
        """Not from an unclear reading: it may contain the coins of a purchase, and the cash from before it."""
        if not isinstance(reading.equity, UnknownEquity):
            self._last_equity = reading.equity

    def _confirm(self, fills: Sequence[AccountFill]) -> None:
        """Take the last reading into the books, unless it is unclear which fills it contains."""
        pending, self._pending = self._pending, None
        if pending is None:
            return
        unclear = [
            fill
            for fill in fills
            if not self.books.has_counted(fill)
            and pending.read_from - JUST_BEFORE < fill.executed_at < pending.read_to + JUST_BEFORE
        ]
        if unclear:
            # The books stay right, because each fill is counted once.
            self._due_seconds = min(self._due_seconds, monotonic() + AFTER_FILLS_SECONDS)
            return
        totals = pending.reading.totals
        self.held_sales.judge(pending.held, totals, self.books)
        self.books.read(totals, pending.read_to)
        self._take_equity(pending.reading)
