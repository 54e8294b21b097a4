"""Reads from the ledger what followers should hold, and which orders are copies and what became of them."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, text

from shared.domain.identity import Broker, BrokerOrderId
from shared.domain.reconciliation.drift import Target
from shared.domain.reconciliation.stray_orders import CopyRecord
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction

_TARGETS = text("""
    SELECT p.follower_id, p.asset, p.quantity, p.carried_exit, p.sequence, p.occurred_at,
           CASE WHEN e.outcome = 'failed' OR (
                e.outcome = 'skipped' AND e.side = 'buy' AND e.reason NOT IN ('below_minimum', 'no_position')
           )
                THEN concat_ws(': ', e.reason, nullif(e.message, '')) END AS failed_exit
    FROM copied_positions p
    LEFT JOIN LATERAL (
        SELECT outcome, reason, message, side FROM order_events o
        WHERE o.broker = p.broker AND o.follower_id = p.follower_id AND o.asset = p.asset
          -- A purchase whose asset is not its base is an exit of the coin that pays.
          AND (o.side = 'sell' OR o.asset <> split_part(o.symbol, '/', 1)) AND o.outcome IS NOT NULL
        ORDER BY o.sequence DESC LIMIT 1
    ) e ON true
    WHERE p.broker = :broker AND (CAST(:followers AS text[]) IS NULL OR p.follower_id = ANY(:followers))
      AND p.quantity <> 0
      AND NOT EXISTS (
          SELECT FROM followers f
          WHERE f.broker = p.broker AND f.follower_id = p.follower_id AND f.status = 'removed'
      )
    ORDER BY p.follower_id, p.asset
""")

_REMOVED = text("SELECT follower_id FROM followers WHERE broker = :broker AND status = 'removed'")

_COPIES = text("""
    SELECT o.copy_order_id, o.follower_id, o.sequence, o.outcome, coalesce(e.occurred_at, o.decided_at) AS changed_at
    FROM fill_outcomes o
    LEFT JOIN order_events e ON e.copy_order_id = o.copy_order_id AND e.outcome IS NOT NULL
    WHERE o.broker = :broker AND o.copy_order_id = ANY(:ids)
""")

_STRATEGY_ORDERS = text("SELECT order_id FROM strategy_orders WHERE broker = :broker AND order_id = ANY(:ids)")

_LAST_ORDER = text("""
    SELECT broker_order_id, symbol FROM order_events
    WHERE broker = :broker AND follower_id = :follower_id AND broker_order_id IS NOT NULL
    ORDER BY sequence DESC LIMIT 1
""")


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that a broker accepted."""

    broker_order_id: BrokerOrderId
    symbol: Symbol


class Targets:
    """The ledger's targets. Blocks and raises DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, broker: Broker, followers: Collection[str] | None = None) -> list[Target]:
        """The copied positions that are not empty, of these followers or of all, by follower and asset.

        Those of removed followers are their owners'.
        """
        asked = {"broker": broker.value, "followers": None if followers is None else list(followers)}
        with transaction(self._engine) as connection:
            return [Target.model_validate(dict(row)) for row in connection.execute(_TARGETS, asked).mappings()]

    def removed(self, broker: Broker) -> set[str]:
        """Followers that were removed: nija has no key any more to look with."""
        with transaction(self._engine) as connection:
            return set(connection.scalars(_REMOVED, {"broker": broker.value}))

    def last_order(self, broker: Broker, follower_id: str) -> PlacedOrder | None:
        """The newest order of a follower that the broker accepted. None if there is none."""
        with transaction(self._engine) as connection:
            row = connection.execute(_LAST_ORDER, {"broker": broker.value, "follower_id": follower_id}).one_or_none()
        return None if row is None else PlacedOrder(BrokerOrderId(row.broker_order_id), Symbol.parse(row.symbol))

    def copies(self, broker: Broker, ids: Collection[str]) -> dict[str, CopyRecord]:
        """What became of the copy orders among these client order ids, by id; others are left out."""
        if not ids:
            return {}
        with transaction(self._engine) as connection:
            rows = connection.execute(_COPIES, {"broker": broker.value, "ids": list(ids)}).mappings()
            found = [CopyRecord.model_validate(dict(row)) for row in rows]
        return {record.copy_order_id: record for record in found}

    def strategy_orders(self, broker: Broker, ids: Collection[str]) -> frozenset[str]:
        """The orders of the strategy among these client order ids."""
        if not ids:
            return frozenset()
        with transaction(self._engine) as connection:
            asked = {"broker": broker.value, "ids": list(ids)}
            return frozenset(connection.scalars(_STRATEGY_ORDERS, asked))
