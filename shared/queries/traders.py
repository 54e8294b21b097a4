"""Reads what the traders of the master accounts report: which brokers are connected, funded and traded.

Every function blocks and raises DatabaseUnavailable.
"""

from collections.abc import Collection
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import select

from shared.domain.accounts.broker_health import Health
from shared.domain.amounts import Amount, Instant
from shared.domain.errors import problems_of
from shared.domain.identity import Broker
from shared.domain.strategy.trader_state import CycleError
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.stored_traders import StoredDecision as StoredDecision
from shared.persistence.stored_traders import StoredTrader
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.traders import StrategyTraderRow
from shared.persistence.traders import TraderStore
from shared.queries.connections import Connections

MISSED_CYCLES: Final = 2.5
"""A trader that has missed two cycles does not trade any more."""
LONGEST_SILENCE: Final = timedelta(seconds=30)
"""What is added to it, for cycles that are much shorter than usual."""

_TRADERS = table_of(StrategyTraderRow)
log = structlog.get_logger()


class TraderPosition(BaseModel):
    """A position that the strategy opened. Prices are quote currency for one unit of the base."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    account: str
    symbol: Symbol
    quantity: Amount
    average_price: Amount
    stop: Amount
    opened_at: Instant | None
    decision_id: str
    """The decision that opened it."""

    @property
    def cost(self) -> Decimal:
        """Quote currency that was paid for what is held, without fees."""
        return self.quantity * self.average_price


class TraderFacts(BaseModel):
    """The trader of one broker. Money is US dollars."""

    model_config = ConfigDict(frozen=True)

    broker: Broker
    account: str | None
    """None: no trader has run yet."""
    status: Health
    connected: bool
    funded: bool
    trading: bool
    why_not: str
    """Why the broker is not traded; empty: it is."""
    equity_usd: Amount | None
    cash_usd: Amount | None
    cycles: int
    successful_cycles: int
    success_rate: Amount
    doubt: str
    """What the last cycle found wrong without failing."""
    errors: tuple[CycleError, ...]
    cycle_at: Instant | None
    next_cycle_at: Instant | None
    positions: tuple[TraderPosition, ...]


class TradersStatus(BaseModel):
    """All traders."""

    model_config = ConfigDict(frozen=True)

    traders: tuple[TraderFacts, ...]

    @property
    def total(self) -> int:
        return len(self.traders)

    @property
    def connected(self) -> tuple[Broker, ...]:
        return tuple(each.broker for each in self.traders if each.connected)

    @property
    def funded(self) -> tuple[Broker, ...]:
        return tuple(each.broker for each in self.traders if each.funded)

    @property
    def active(self) -> tuple[Broker, ...]:
        """The brokers that are traded now."""
        return tuple(each.broker for each in self.traders if each.trading)

    @property
    def positions(self) -> tuple[TraderPosition, ...]:
        return tuple(position for each in self.traders for position in each.positions)


def is_alive(trader: StoredTrader, now: datetime) -> bool:
    """Whether the trader has run its cycles lately."""
    state = trader.state
    length = timedelta(0)
    if state.cycle_at is not None and state.next_cycle_at is not None:
        length = max(length, state.next_cycle_at - state.cycle_at)
    return now - trader.updated_at <= length * MISSED_CYCLES + LONGEST_SILENCE


def is_connected(trader: StoredTrader, now: datetime) -> bool:
    """Whether the trader runs, and its broker answered it in the last cycle."""
    return trader.state.connected and is_alive(trader, now)


def connected_brokers(connections: Connections, now: datetime) -> frozenset[Broker]:
    """The brokers whose traders are connected. A row that cannot be read is left out, so that no other broker waits."""
    with transaction(connections.engine) as connection:
        rows = connection.execute(select(_TRADERS)).mappings().all()
    found: set[Broker] = set()
    for row in rows:
        try:
            trader = StoredTrader.model_validate(dict(row))
        except ValidationError as error:
            log.warning("the row of a trader cannot be read", broker=row["broker"], error=problems_of(error, "trader"))
            continue
        if is_connected(trader, now):
            found.add(trader.broker)
    return frozenset(found)


def read_traders(connections: Connections, enabled: Collection[Broker], now: datetime) -> TradersStatus:
    """Return the traders of the enabled brokers; if none is enabled, those that have run."""
    store = TraderStore(connections.engine)
    stored = {each.broker: each for each in store.all()}
    wanted = [broker for broker in Broker if broker in (enabled or stored)]
    return TradersStatus(traders=tuple(_facts(store, broker, stored.get(broker), now) for broker in wanted))


def read_decision(connections: Connections, decision_id: str) -> StoredDecision | None:
    """Return a recorded decision; None: there is none of this id."""
    return TraderStore(connections.engine).decision(decision_id)


def _facts(store: TraderStore, broker: Broker, trader: StoredTrader | None, now: datetime) -> TraderFacts:
    if trader is None:
        return _never_run(broker)
    state, alive = trader.state, is_alive(trader, now)
    health = state.health
    trading = alive and state.trades
    return TraderFacts(
        broker=broker,
        account=trader.master_account,
        status=health.status if alive else Health.UNKNOWN,
        connected=is_connected(trader, now),
        funded=state.funded,
        trading=trading,
        why_not="" if trading else _why_not(trader, alive=alive),
        equity_usd=state.equity_usd,
        cash_usd=None if state.equity_usd is None else state.cash_usd,
        cycles=health.cycles,
        successful_cycles=health.successful_cycles,
        success_rate=round(health.success_rate, 4),
        doubt=health.doubt,
        errors=state.errors,
        cycle_at=state.cycle_at,
        next_cycle_at=state.next_cycle_at,
        positions=_positions(store, trader),
    )


def _why_not(trader: StoredTrader, *, alive: bool) -> str:
    state = trader.state
    if not alive:
        return f"no process has traded it since {trader.updated_at:%Y-%m-%d %H:%M:%S} UTC"
    if not state.connected:
        return state.health.last_error or "the account was not read yet"
    if not state.funded:
        return "the account has less than 10 USD"
    return state.opens_stopped or state.health.last_error


def _positions(store: TraderStore, trader: StoredTrader) -> tuple[TraderPosition, ...]:
    return tuple(
        TraderPosition(
            broker=trader.broker,
            account=trader.master_account,
            symbol=each.symbol,
            quantity=each.position.quantity,
            average_price=each.position.average_price,
            stop=each.position.stop,
            opened_at=each.position.opened_at,
            decision_id=each.decision_id,
        )
        for each in store.of(trader.broker, trader.master_account).open_positions()
    )


def _never_run(broker: Broker) -> TraderFacts:
    return TraderFacts(
        broker=broker,
        account=None,
        status=Health.UNKNOWN,
        connected=False,
        funded=False,
        trading=False,
        why_not="no trader has run yet (MULTI_BROKER_INDEPENDENT)",
        equity_usd=None,
        cash_usd=None,
        cycles=0,
        successful_cycles=0,
        success_rate=Decimal(1),
        doubt="",
        errors=(),
        cycle_at=None,
        next_cycle_at=None,
        positions=(),
    )
