"""Stores the capital record and the snapshots of each broker account in PostgreSQL.

A record changes only in a transaction that holds the lock of its account. So two processes that sample an account at
the same time store one sample, and a killed process leaves either all of a sample or nothing.

All methods block and raise DatabaseUnavailable. Each may then be called again.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zlib import crc32

from sqlalchemy import Connection, Engine, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlmodel import col

from shared.domain.capital.history import KEPT_FOR, CapitalSnapshot
from shared.domain.capital.margin import MarginActionState
from shared.domain.capital.sampling import CapitalRecord
from shared.domain.fill import AccountFill
from shared.domain.identity import Broker, MasterAccount
from shared.persistence.database import transaction
from shared.persistence.tables.capital import CapitalRecordRow, CapitalSnapshotRow
from shared.persistence.tables.columns import table_of
from shared.persistence.tables.ledger import MasterFillRow
from shared.persistence.tables.operational import MasterCheckpointRow

_RECORDS, _SNAPSHOTS = table_of(CapitalRecordRow), table_of(CapitalSnapshotRow)


@dataclass(frozen=True, slots=True)
class LockedCapital:
    """The stored capital of one account inside a transaction that holds its lock."""

    connection: Connection
    broker: Broker
    master_account: MasterAccount

    @property
    def _name(self) -> dict[str, str]:
        return {"broker": self.broker.value, "master_account": self.master_account}

    def record(self) -> CapitalRecord | None:
        """The stored record; None before the first sample."""
        row = self.connection.execute(select(_RECORDS).filter_by(**self._name)).mappings().one_or_none()
        return None if row is None else CapitalRecord.model_validate(dict(row))

    def last_snapshot(self) -> CapitalSnapshot | None:
        """The newest snapshot."""
        newest = select(_SNAPSHOTS).filter_by(**self._name).order_by(_SNAPSHOTS.c.at.desc()).limit(1)
        row = self.connection.execute(newest).mappings().one_or_none()
        return None if row is None else CapitalSnapshot.model_validate(dict(row))

    def watched_since(self) -> datetime | None:
        """Since when the account is watched under its name; None: it never was."""
        found: datetime | None = self.connection.scalar(
            select(col(MasterCheckpointRow.watched_since)).filter_by(**self._name)
        )
        return found

    def fills_between(self, after: datetime, until: datetime) -> list[AccountFill]:
        """The recorded fills that were executed after a moment and until another one, oldest first."""
        fills, names = table_of(MasterFillRow), list(AccountFill.model_fields)
        rows = self.connection.execute(
            select(*(fills.c[name] for name in names))
            .filter_by(**self._name)
            .where(fills.c.executed_at > after, fills.c.executed_at <= until)
            .order_by(fills.c.sequence)
        ).mappings()
        return [AccountFill.model_validate(dict(row)) for row in rows]

    def store(self, record: CapitalRecord, snapshot: CapitalSnapshot) -> None:
        """Replace the record, add the snapshot, and delete snapshots that are too old or of another account."""
        values: dict[str, Any] = {**self._name, **record.model_dump(), **_documents(record)}
        self.connection.execute(
            upsert(_RECORDS)
            .values(values)
            .on_conflict_do_update(index_elements=list(self._name), set_={k: values[k] for k in values})
        )
        self.connection.execute(
            upsert(_SNAPSHOTS).values({**self._name, **snapshot.model_dump()}).on_conflict_do_nothing()
        )
        oldest = max(snapshot.at - KEPT_FOR, record.watched_since)
        self.connection.execute(delete(_SNAPSHOTS).filter_by(**self._name).where(_SNAPSHOTS.c.at < oldest))

    def store_margin_action(self, state: MarginActionState) -> None:
        """Replace what the automatic action must remember. Does nothing before the first sample."""
        change = update(_RECORDS).filter_by(**self._name).values(margin_action=state.model_dump(mode="json"))
        self.connection.execute(change)


@dataclass(frozen=True, slots=True)
class StoredCapital:
    """The record of one account with its newest snapshot."""

    broker: Broker
    master_account: MasterAccount
    record: CapitalRecord
    snapshot: CapitalSnapshot | None


class CapitalStore:
    """The capital of all broker accounts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def locked(self, broker: Broker, master_account: MasterAccount) -> Iterator[LockedCapital]:
        """Hold the lock of an account in a transaction that commits at the end."""
        lock = crc32(f"capital:{broker.value}:{master_account}".encode())
        with transaction(self._engine) as connection:
            connection.execute(select(func.pg_advisory_xact_lock(lock)))
            yield LockedCapital(connection, broker, master_account)

    def change_margin_action(
        self,
        broker: Broker,
        master_account: MasterAccount,
        change: Callable[[MarginActionState], MarginActionState],
    ) -> MarginActionState | None:
        """Change what the automatic action must remember, under the lock, and return it. None before the first sample."""
        with self.locked(broker, master_account) as stored:
            record = stored.record()
            if record is None:
                return None
            after = change(record.margin_action)
            if after != record.margin_action:
                stored.store_margin_action(after)
            return after

    def record(self, broker: Broker, master_account: MasterAccount) -> CapitalRecord | None:
        """The stored record; None before the first sample."""
        with transaction(self._engine) as connection:
            return LockedCapital(connection, broker, master_account).record()

    def all(self) -> list[StoredCapital]:
        """Every account that was sampled."""
        named = select(_RECORDS).order_by(_RECORDS.c.broker, _RECORDS.c.master_account)
        with transaction(self._engine) as connection:
            return [
                StoredCapital(
                    Broker(row["broker"]),
                    row["master_account"],
                    CapitalRecord.model_validate(dict(row)),
                    LockedCapital(connection, Broker(row["broker"]), row["master_account"]).last_snapshot(),
                )
                for row in connection.execute(named).mappings().all()
            ]

    def snapshots(self, broker: Broker, master_account: MasterAccount, since: datetime) -> list[CapitalSnapshot]:
        """The snapshots from a moment on, oldest first."""
        wanted = (
            select(_SNAPSHOTS)
            .filter_by(broker=broker.value, master_account=master_account)
            .where(_SNAPSHOTS.c.at >= since)
            .order_by(_SNAPSHOTS.c.at)
        )
        with transaction(self._engine) as connection:
            return [CapitalSnapshot.model_validate(dict(row)) for row in connection.execute(wanted).mappings()]


def _documents(record: CapitalRecord) -> dict[str, Any]:
    """The fields that are stored as JSON, in which amounts are text and keep every digit."""
    return record.model_dump(mode="json", include={"drawdown", "margin_action", "holdings"})
