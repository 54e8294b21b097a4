"""Writes batches of events into the ledger, each batch in one transaction and each row once.

The rows go by COPY into temporary tables and from there by one INSERT … ON CONFLICT DO NOTHING each: a batch that
is written again (a crash between commit and acknowledgement) changes nothing. The first row that says how an order
ended stands; an event that says otherwise is reported as a conflict and not stored.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from typing import Any, Final, NamedTuple, cast

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DataError, IntegrityError
from sqlmodel import SQLModel

from shared.domain.copying.follower import FollowerStatus
from shared.domain.events import (
    DecisionBatch,
    Event,
    FollowerDisabled,
    OrderEvent,
    PositionAdjusted,
    SnapshotEvent,
    StrategyOrderEvent,
)
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.persistence.database import transaction
from shared.persistence.errors import RefusedByDatabase
from shared.persistence.followers.records import find, has_key
from shared.persistence.followers.writes import Audit, change_status
from shared.persistence.ledger.event_order import lock_event_order
from shared.persistence.ledger.restore_count import ReadAfter, last_restore, require_last
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.ledger import AccountSnapshotRow, DecisionRow, InstrumentRow

BROKER_ACTOR: Final = "broker"

_ORDER_FIELDS: Final = tuple(name for name in OrderEvent.model_fields if name not in ("version", "type"))
_BROKER_OF_ORDER: Final = _ORDER_FIELDS.index("broker")
_STRATEGY_FIELDS: Final = tuple(name for name in StrategyOrderEvent.model_fields if name not in ("version", "type"))
_ADJUSTMENT_FIELDS: Final = tuple(name for name in PositionAdjusted.model_fields if name not in ("version", "type"))
_ADJUSTMENT_KEY: Final = ("broker", "follower_id", "asset", "sequence", "occurred_at")

_CONFLICTS: Final = sql.SQL("""
    SELECT i.place FROM {} i
    JOIN {} e ON e.{id} = i.{id} AND e.outcome IS NOT NULL
    WHERE i.outcome IS NOT NULL AND (i.outcome, i.filled_quantity) <> (e.outcome, e.filled_quantity)
    ORDER BY i.place
""")


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch. Rows that were in the ledger already are not counted."""

    decisions: int
    order_events: int
    """Events of copies and of the strategy."""
    snapshots: int
    conflicts: tuple[int, ...]
    """Places in the batch of final events that contradict the ledger: a broken invariant, to be reported."""
    disabled: frozenset[tuple[Broker, str]]
    """Followers that were disabled by this batch, just now."""


@dataclass(frozen=True, slots=True)
class _Load:
    """Rows for one table, keyed by what makes a row unique, so that all writers lock in one order."""

    table: str
    columns: tuple[str, ...]
    order: tuple[str, ...]
    rows: list[tuple[Any, ...]]
    with_place: bool = False


@dataclass(frozen=True, slots=True)
class _Batch:
    """The rows of a batch, by table."""

    instruments: dict[str, Instrument] = field(default_factory=dict)
    decisions: list[tuple[Any, ...]] = field(default_factory=list)
    orders: list[tuple[Any, ...]] = field(default_factory=list)
    strategy_orders: list[tuple[Any, ...]] = field(default_factory=list)
    snapshots: list[tuple[Any, ...]] = field(default_factory=list)
    disabled: list[FollowerDisabled] = field(default_factory=list)
    adjustments: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, event: Event, place: int) -> None:
        """Take an event. `place` is its place in the batch."""
        match event:
            case DecisionBatch():
                self.decisions.extend(_decision_rows(event, _digest(event.instrument, self.instruments)))
            case OrderEvent():
                self.orders.append((*_order_row(event), place))
            case StrategyOrderEvent():
                self.strategy_orders.append((*[getattr(event, name) for name in _STRATEGY_FIELDS], place))
            case SnapshotEvent():
                self.snapshots.append(_snapshot_row(event))
            case FollowerDisabled():
                self.disabled.append(event)
            case PositionAdjusted():
                self.adjustments.append(tuple(getattr(event, name) for name in _ADJUSTMENT_FIELDS))


class Ledger:
    """The append-only side of the database. Blocks: call it from a thread when an event loop is running."""

    def __init__(self, engine: Engine, read_after: ReadAfter | None = None) -> None:
        """`read_after`: of the events that are written; None: no restore has begun since they were read."""
        self._engine = engine
        self._read_after = read_after

    def from_now_on(self, broker: Broker) -> "Ledger":
        """The ledger for what is read from the broker's Redis after this call. Raises DatabaseUnavailable."""
        with transaction(self._engine) as connection:
            return Ledger(self._engine, last_restore(connection, broker))

    def ping(self) -> None:
        """Return when PostgreSQL answers. Raises DatabaseUnavailable."""
        with transaction(self._engine) as connection:
            connection.execute(text("SELECT 1"))

    def write(self, events: Sequence[Event]) -> Written:
        """Store a batch in one transaction.

        Raises DatabaseUnavailable: write the same batch again then. Raises RefusedByDatabase: something in the batch
        can never be stored; nothing of the batch was. Raises EventsOutdated: Redis was restored since it was read.
        """
        batch = _Batch()
        for place, event in enumerate(events):
            batch.add(event, place)
        try:
            return self._store(batch)
        except (psycopg.DataError, psycopg.IntegrityError, UnicodeError) as error:
            raise RefusedByDatabase(str(error).splitlines()[0]) from error
        except (DataError, IntegrityError) as error:
            raise RefusedByDatabase(str(error.orig).splitlines()[0]) from error

    def _store(self, batch: _Batch) -> Written:
        with transaction(self._engine) as connection:
            driver = cast("psycopg.Connection[Any]", connection.connection.driver_connection)
            _insert(driver, _instrument_load(batch.instruments))
            decisions_written = _insert(
                driver, _Load("decisions", _DECISION_COLUMNS, ("broker", "sequence", "follower_id"), batch.decisions)
            )
            if batch.orders:
                lock_event_order(driver, {row[_BROKER_OF_ORDER] for row in batch.orders})
            copies = _insert_orders(driver, "order_events", "copy_order_id", _ORDER_FIELDS, batch.orders)
            own = _insert_orders(driver, "strategy_order_events", "order_id", _STRATEGY_FIELDS, batch.strategy_orders)
            snapshots_written = _insert(
                driver,
                _Load(
                    "account_snapshots", _SNAPSHOT_COLUMNS, ("broker", "follower_id", "occurred_at"), batch.snapshots
                ),
            )
            _insert(driver, _Load("position_adjustments", _ADJUSTMENT_FIELDS, _ADJUSTMENT_KEY, batch.adjustments))
            just_disabled = frozenset(
                (event.broker, event.follower_id) for event in batch.disabled if _disable(connection, event)
            )
            if self._read_after is not None:
                # Last, because a restore waits from here on until the commit.
                require_last(connection, self._read_after)
        conflicts = tuple(sorted((*copies.conflicts, *own.conflicts)))
        return Written(decisions_written, copies.new + own.new, snapshots_written, conflicts, just_disabled)


class _OrdersWritten(NamedTuple):
    new: int
    conflicts: tuple[int, ...]
    """Places in the batch."""


def _insert_orders(
    driver: psycopg.Connection[Any], table: str, id_column: str, fields: tuple[str, ...], rows: list[tuple[Any, ...]]
) -> _OrdersWritten:
    """Insert order events, and find those that say otherwise than the table how an order ended."""
    new = _insert(driver, _Load(table, fields, (id_column, "occurred_at"), rows, with_place=True))
    if new == len(rows):
        return _OrdersWritten(new, ())
    asked = _CONFLICTS.format(_incoming(table), sql.Identifier(table), id=sql.Identifier(id_column))
    return _OrdersWritten(new, tuple(row[0] for row in driver.execute(asked)))


def _disable(connection: Connection, event: FollowerDisabled) -> bool:
    record = find(connection, event.broker, event.follower_id, for_update=True)
    # A refusal from before the follower was resumed, or of a key that was replaced, says nothing about now.
    if (
        record is None
        or record.status in (FollowerStatus.DISABLED, FollowerStatus.REMOVED)
        or record.status_changed_at >= event.occurred_at
        or (event.key_hash is not None and not has_key(connection, record, event.key_hash))
    ):
        return False
    audit = Audit(BROKER_ACTOR, event.message, event.occurred_at)
    return change_status(connection, event.broker, event.follower_id, FollowerStatus.DISABLED, audit)


_DECISION_COLUMNS: Final = tuple(column.name for column in table_of(DecisionRow).columns)
_SNAPSHOT_COLUMNS: Final = tuple(column.name for column in table_of(AccountSnapshotRow).columns)


def _decision_rows(batch: DecisionBatch, digest: str | None) -> Iterable[tuple[Any, ...]]:
    broker, decided_at = batch.broker.value, batch.decided_at.isoformat()
    for d in batch.decisions:
        # In the order of the table's columns.
        yield (
            broker,
            batch.sequence,
            d.follower_id,
            batch.shard,
            d.copy_order_id,
            batch.symbol,
            batch.asset,
            batch.side.value,
            digest,
            d.skip_reason,
            d.quantity,
            d.fraction,
            d.status.value,
            d.stop_mode,
            d.minimum_notional,
            d.equity,
            d.snapshot_at,
            d.carried_before,
            d.carried_after,
            decided_at,
        )


def _order_row(event: OrderEvent) -> tuple[Any, ...]:
    others = {asset: position.model_dump(mode="json") for asset, position in event.other_positions.items()}
    values = {name: getattr(event, name) for name in _ORDER_FIELDS} | {"other_positions": Jsonb(others)}
    return tuple(values[name] for name in _ORDER_FIELDS)


def _snapshot_row(event: SnapshotEvent) -> tuple[Any, ...]:
    values = event.model_dump(mode="json") | {"unpriced": Jsonb(list(event.unpriced))}
    return tuple(values[name] for name in _SNAPSHOT_COLUMNS)


def _digest(instrument: Instrument | None, seen: dict[str, Instrument]) -> str | None:
    if instrument is None:
        return None
    digest = sha256(instrument.model_dump_json().encode()).hexdigest()
    seen[digest] = instrument
    return digest


def _instrument_load(instruments: dict[str, Instrument]) -> _Load:
    rows: list[tuple[Any, ...]] = [
        (digest, each.broker.value, each.symbol, each.model_dump_json()) for digest, each in instruments.items()
    ]
    return _Load("instruments", tuple(c.name for c in table_of(InstrumentRow).columns), ("digest",), rows)


@cache
def _incoming(table: str) -> sql.Identifier:
    """The name of the temporary table for rows of `table`.

    It ends with a digest of the columns. Behind a pooler such as PgBouncer a session outlives the processes that use
    it, so it may hold a temporary table that an older version of nija made.
    """
    columns = [(column.name, str(column.type)) for column in SQLModel.metadata.tables[table].columns]
    return sql.Identifier(f"incoming_{table}_{sha256(repr(columns).encode()).hexdigest()[:8]}")


def _insert(driver: psycopg.Connection[Any], load: _Load) -> int:
    """Bring rows into a table, those that are there already left out; return how many were new."""
    if not load.rows:
        return 0
    incoming = _incoming(load.table)
    table = sql.Identifier(load.table)
    columns = sql.SQL(", ").join(map(sql.Identifier, load.columns))
    order = sql.SQL(", ").join(map(sql.Identifier, load.order))
    place = sql.SQL(", NULL::integer AS place") if load.with_place else sql.SQL("")
    # One per session and kept: creating it for each batch would bloat the catalogs.
    driver.execute(sql.SQL("SET LOCAL client_min_messages = warning"))
    driver.execute(
        sql.SQL("CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DELETE ROWS AS SELECT {}{} FROM {} LIMIT 0").format(
            incoming, columns, place, table
        )
    )
    copied = sql.SQL(", place") if load.with_place else sql.SQL("")
    with (
        driver.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} ({}{}) FROM STDIN").format(incoming, columns, copied)) as copy,
    ):
        for row in load.rows:
            copy.write_row(row)
    return driver.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} ORDER BY {} ON CONFLICT DO NOTHING").format(
            table, columns, columns, incoming, order
        )
    ).rowcount
