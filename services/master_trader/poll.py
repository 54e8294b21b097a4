"""Reads the account: its fills at each poll, and now and then its balances.

It raises what the gateway and Redis raise, and writes nothing.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from services.master_trader.books import MasterBooks
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.unwind import currencies_to_price, equities_before, new_fills
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.equity import Balance, snapshot
from shared.domain.accounts.master_value import Equity, MasterPrices
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol
from shared.persistence.ledger.master_fills import ObservedFill

_AGREEMENT_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Reading:
    """The account as read once, with the value of everything it holds."""

    totals: dict[str, Decimal]
    """Quantity per currency."""
    account: AccountSnapshot
    equity: Equity


@dataclass(frozen=True, slots=True)
class Stock:
    """A first reading, and the fills that it contains."""

    reading: Reading
    fills: tuple[AccountFill, ...]
    """All that the broker shows of the window, oldest first."""
    agreed: bool
    """False: the account traded faster than it could be read. The books may be off by that trade until a clear reading."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one poll of the account found."""

    fills: tuple[AccountFill, ...]
    """All that the broker shows of the window, oldest first, without those that are held back."""
    new: tuple[ObservedFill, ...]
    """Those that are not known yet, each with the equity before it."""
    held_from: datetime | None = None
    """The execution time of the oldest fill that is held back; None if there is none."""

    def without(self, held: Collection[str]) -> "Sighting":
        """The sighting without these fills, by id. A later poll finds them again."""
        if not held:
            return self
        times = [fill.executed_at for fill in self.fills if fill.fill_id in held]
        return Sighting(
            fills=tuple(fill for fill in self.fills if fill.fill_id not in held),
            new=tuple(observed for observed in self.new if observed.fill.fill_id not in held),
            held_from=min([*times, *([self.held_from] if self.held_from else [])], default=None),
        )


async def read_fills(account: BrokerAccount, since: datetime) -> tuple[AccountFill, ...]:
    """The fills from `since` on, oldest first and once each: pages shift while fills arrive."""
    by_id = {fill.fill_id: fill for fill in await account.fills_since(since)}
    return tuple(sorted(by_id.values(), key=lambda fill: fill.executed_at))


async def read_account(
    account: BrokerAccount, fills: Sequence[AccountFill], now: datetime, price_list: MasterPriceList
) -> Reading:
    """Read what the account holds and is worth now. `fills`: recent ones, whose currencies need a price too."""
    balances: dict[str, Balance] = await account.balances()
    totals = {currency: balance.total for currency, balance in balances.items()}
    prices = await price_list.of(currencies_to_price(totals, fills), now)
    return Reading(totals, _valued(balances, prices, now), prices.equity(totals))


async def take_stock(
    account: BrokerAccount, since: datetime, now: Callable[[], datetime], price_list: MasterPriceList
) -> Stock:
    """Read the account between two readings of its fills, until both show the same fills.

    The reading then contains exactly these fills.
    """
    account = account.at(Priority.FOREGROUND)
    fills = await read_fills(account, since)
    for _ in range(_AGREEMENT_TRIES):
        reading = await read_account(account, fills, now(), price_list)
        again = await read_fills(account, since)
        agreed = {fill.fill_id for fill in again} == {fill.fill_id for fill in fills}
        fills = again
        if agreed:
            break
    return Stock(reading, fills, agreed)


def sight(
    connection: BrokerConnection,
    fills: Sequence[AccountFill],
    books: MasterBooks,
    prices: MasterPrices,
    *,
    known: Collection[str],
    watched_since: datetime,
    last_read: Decimal = ZERO,
) -> Sighting:
    """Find the new fills, and the equity before each from the books, without a request.

    `books` have counted `fills`. `last_read` is the equity (US dollars) of the last reading.
    """
    new = new_fills(fills, known, watched_since)
    equities = equities_before(fills, new, books.totals, prices, last_read)
    return Sighting(
        tuple(fills),
        tuple(
            ObservedFill(fill, equities[fill.fill_id], prices.of(fill.symbol.quote), _lot(connection, fill.symbol))
            for fill in new
        ),
    )


def _valued(balances: dict[str, Balance], prices: MasterPrices, now: datetime) -> AccountSnapshot:
    counted = {currency: balance for currency, balance in balances.items() if currency not in prices.ignored}
    return snapshot(counted, {**prices.outdated, **prices.current}, now)


def _lot(connection: BrokerConnection, symbol: Symbol) -> Decimal:
    instrument = connection.instruments().get(symbol)
    return instrument.lot if instrument else ZERO
