"""Stores which account a master's key opens, and makes another account one that is followed from now on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Engine, insert, text

from shared.domain.identity import Broker, BrokerOrderId, MasterAccount
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction
from shared.persistence.ledger.targets import PlacedOrder
from shared.persistence.sequence import last_sequence, lock_sequence
from shared.persistence.tables.ledger import MasterChangeRow

ACTOR: Final = "master trader"

_STORED: Final = text(
    "SELECT identity, key_hash FROM master_checkpoints WHERE broker = :broker AND master_account = :master_account"
)
_LAST_ORDER: Final = text(
    "SELECT order_id, symbol FROM master_fills WHERE broker = :broker AND master_account = :master_account"
    # Fills of an account that was watched before under this name prove nothing.
    " AND sequence > coalesce((SELECT followed_after FROM master_checkpoints"
    " WHERE broker = :broker AND master_account = :master_account), 0)"
    " ORDER BY sequence DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class KnownAccount:
    """What is stored of the account that a master's key opened last."""

    identity: str | None
    key_hash: str | None
    last_order: PlacedOrder | None
    """The order of its newest recorded fill."""


class MasterIdentities:
    """The accounts of all masters. All methods block and raise DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def known(self, broker: Broker, master_account: MasterAccount) -> KnownAccount | None:
        """The account that the master's key opened last. None: it was never watched."""
        name = _name(broker, master_account)
        with transaction(self._engine) as connection:
            stored = connection.execute(_STORED, name).one_or_none()
            order = connection.execute(_LAST_ORDER, name).one_or_none()
        if stored is None:
            return None
        last_order = None if order is None else PlacedOrder(BrokerOrderId(order.order_id), Symbol.parse(order.symbol))
        return KnownAccount(stored.identity, stored.key_hash, last_order)

    def confirm(
        self, broker: Broker, master_account: MasterAccount, key_hash: str, identity: str | None, now: datetime
    ) -> None:
        """Store the key, which opens the same account as before. Without a checkpoint, nothing is stored."""
        with transaction(self._engine) as connection:
            before = connection.execute(_STORED, _name(broker, master_account)).one_or_none()
            if before is None:
                return
            connection.execute(
                text(
                    "UPDATE master_checkpoints SET key_hash = :key_hash, identity = coalesce(:identity, identity)"
                    " WHERE broker = :broker AND master_account = :master_account"
                ),
                {**_name(broker, master_account), "key_hash": key_hash, "identity": identity},
            )
            if before.key_hash is not None and before.key_hash != key_hash:
                _audit(connection, broker, master_account, "keys", before.identity, identity, "the same account", now)

    def replace(
        self, broker: Broker, master_account: MasterAccount, key_hash: str, identity: str | None, now: datetime
    ) -> None:
        """Follow another account from `now` on, under the same name. Its earlier executions are not copied."""
        name = _name(broker, master_account)
        with transaction(self._engine) as connection:
            lock_sequence(connection, broker)
            before = connection.execute(_STORED, name).one()
            connection.execute(
                text(
                    "UPDATE master_checkpoints SET key_hash = :key_hash, identity = :identity, watched_since = :now,"
                    " read_until = :now, followed_after = :sequence"
                    " WHERE broker = :broker AND master_account = :master_account"
                ),
                {
                    **name,
                    "key_hash": key_hash,
                    "identity": identity,
                    "now": now,
                    "sequence": last_sequence(connection, broker),
                },
            )
            reason = "the key opens another account, which is followed from now on"
            _audit(connection, broker, master_account, "account", before.identity, identity, reason, now)


def _name(broker: Broker, master_account: MasterAccount) -> dict[str, str]:
    return {"broker": broker.value, "master_account": master_account}


def _audit(
    connection: Connection,
    broker: Broker,
    master_account: MasterAccount,
    change: str,
    before: str | None,
    after: str | None,
    reason: str,
    now: datetime,
) -> None:
    connection.execute(
        insert(MasterChangeRow).values(
            broker=broker.value,
            master_account=master_account,
            change=change,
            before=before,
            after=after,
            actor=ACTOR,
            reason=reason,
            occurred_at=now,
        )
    )
