"""Polls the account: reads its fills, and for new ones balances and prices that agree with them.

A poll returns a `Sighting` with the new fills, oldest first, each with the equity before it. It raises what the
gateway raises, and writes nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from services.master_trader.unwind import currencies_to_price, equities_before, new_fills
from shared.brokers.port.account import BrokerAccount
from shared.brokers.port.connection import BrokerConnection
from shared.domain.accounts.equity import Balance, snapshot
from shared.domain.accounts.master_value import Equity, MasterPrices, PriceMemory, UnknownEquity
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO
from shared.domain.fill import AccountFill
from shared.domain.request_limits import Priority
from shared.domain.symbol import Symbol
from shared.persistence.ledger.master_fills import ObservedFill

_AGREEMENT_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Sighting:
    """What one poll of the account found."""

    fills: tuple[AccountFill, ...]
    """All that the broker shows of the window, oldest first."""
    new: tuple[ObservedFill, ...]
    """Those that are not known yet, each with the equity before it."""
    account: AccountSnapshot | None
    """The account after the last fill; read only when there are new fills."""
    equity: Equity | None = None
    """The equity of `account`; unknown also when it is unknown before one of the new fills."""
    agreed: bool = True
    """False: the account traded faster than it could be read. The equities may be off by that last trade's fee."""


async def poll_account(
    connection: BrokerConnection,
    account: BrokerAccount,
    *,
    since: datetime,
    watched_since: datetime,
    known: Collection[str],
    now: datetime,
    memory: PriceMemory,
    last_read: Decimal = ZERO,
) -> Sighting:
    """Read the fills from `since` on; for new ones the balances and prices that go with them.

    Balances are read between two readings of the fills. When the second shows more, the account traded
    meanwhile, and balances are read again. `last_read` is the equity (US dollars) of the last reading before.
    """
    fills = await _read_fills(account, since)
    new = new_fills(fills, known, watched_since)
    if not new:
        return Sighting(tuple(fills), (), None)
    agreed = False
    for _ in range(_AGREEMENT_TRIES):
        balances = await account.at(Priority.FOREGROUND).balances()
        again = await _read_fills(account, since)
        agreed = {fill.fill_id for fill in again} == {fill.fill_id for fill in fills}
        fills = again
        if agreed:
            break
    new = new_fills(fills, known, watched_since)
    totals = {currency: balance.total for currency, balance in balances.items()}
    prices = memory.learn(await connection.prices(currencies_to_price(totals, fills)), now)
    equities = equities_before(fills, new, totals, prices, last_read)
    return Sighting(
        fills=tuple(fills),
        new=tuple(
            ObservedFill(fill, equities[fill.fill_id], prices.of(fill.symbol.quote), _lot(connection, fill.symbol))
            for fill in new
        ),
        account=_valued(balances, prices, now),
        equity=next((e for e in equities.values() if isinstance(e, UnknownEquity)), prices.equity(totals)),
        agreed=agreed,
    )


async def read_equity(
    connection: BrokerConnection, account: BrokerAccount, now: datetime, memory: PriceMemory
) -> tuple[AccountSnapshot, Equity]:
    """Read what the account is worth now; for `status`, and to find out that a key works."""
    balances: dict[str, Balance] = await account.balances()
    totals = {currency: balance.total for currency, balance in balances.items()}
    prices = memory.learn(await connection.prices(currencies_to_price(totals, ())), now)
    return _valued(balances, prices, now), prices.equity(totals)


def _valued(balances: dict[str, Balance], prices: MasterPrices, now: datetime) -> AccountSnapshot:
    counted = {currency: balance for currency, balance in balances.items() if currency not in prices.ignored}
    return snapshot(counted, {**prices.outdated, **prices.current}, now)


def _lot(connection: BrokerConnection, symbol: Symbol) -> Decimal:
    instrument = connection.instruments().get(symbol)
    return instrument.lot if instrument else ZERO


async def _read_fills(account: BrokerAccount, since: datetime) -> list[AccountFill]:
    # Pages shift while fills arrive, so the same fill may come twice.
    by_id = {fill.fill_id: fill for fill in await account.fills_since(since)}
    return sorted(by_id.values(), key=lambda fill: fill.executed_at)
