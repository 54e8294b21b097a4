"""Reads from the ledger what exits left to sell, why, and since when."""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import Engine, text

from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.debt import CarriedExit
from shared.domain.identity import Broker, FollowerId
from shared.domain.symbol import Symbol
from shared.persistence.database import transaction

# `held` goes from one asset of a follower to the next in the index, so the length of the history does not matter.
# What an open carries (ADR 5) belongs to no exit. Then the last exit of the asset, if there is one, left nothing.
_CARRIED = text("""
    WITH RECURSIVE held AS (
        (SELECT o.follower_id, o.asset FROM order_events o
         WHERE o.broker = :broker AND o.outcome IS NOT NULL ORDER BY o.follower_id, o.asset LIMIT 1)
        UNION ALL
        SELECT n.follower_id, n.asset FROM held h CROSS JOIN LATERAL (
            SELECT o.follower_id, o.asset FROM order_events o
            WHERE o.broker = :broker AND o.outcome IS NOT NULL AND (o.follower_id, o.asset) > (h.follower_id, h.asset)
            ORDER BY o.follower_id, o.asset LIMIT 1
        ) n
    )
    SELECT h.follower_id, h.asset, p.quantity, p.carried_exit, p.occurred_at, e.symbol, e.sequence, f.price,
           coalesce(nullif(concat_ws(': ', e.reason, nullif(e.message, '')), ''), 'it sold only a part') AS why
    FROM held h
    JOIN LATERAL (
        SELECT o.symbol, o.sequence, o.reason, o.message, o.carried_exit_after FROM order_events o
        WHERE o.broker = :broker AND o.follower_id = h.follower_id AND o.asset = h.asset AND o.outcome IS NOT NULL
          -- A purchase whose asset is not its base is an exit of the coin that pays.
          AND (o.side = 'sell' OR o.asset <> split_part(o.symbol, '/', 1))
        ORDER BY o.sequence DESC LIMIT 1
    ) e ON e.carried_exit_after > 0
    JOIN LATERAL (
        SELECT c.quantity, c.carried_exit, c.occurred_at FROM copied_positions c
        WHERE c.broker = :broker AND c.follower_id = h.follower_id AND c.asset = h.asset LIMIT 1
    ) p ON p.quantity > 0 AND p.carried_exit > 0
    LEFT JOIN master_fills f ON f.broker = :broker AND f.sequence = e.sequence
    WHERE (CAST(:followers AS text[]) IS NULL OR h.follower_id = ANY(:followers))
      AND NOT EXISTS (
          SELECT FROM followers r
          WHERE r.broker = :broker AND r.follower_id = h.follower_id AND r.status = 'removed'
      )
    ORDER BY h.follower_id, h.asset
""")

# The first order of the newest row of orders that all left at least the given quantity.
_SINCE = text("""
    SELECT a.follower_id, a.asset, (
        SELECT min(o.occurred_at) FROM order_events o
        WHERE o.broker = :broker AND o.follower_id = a.follower_id AND o.asset = a.asset AND o.outcome IS NOT NULL
          AND o.sequence > coalesce((
              SELECT z.sequence FROM order_events z
              WHERE z.broker = :broker AND z.follower_id = a.follower_id AND z.asset = a.asset
                AND z.outcome IS NOT NULL AND z.carried_exit_after < a.quantity
              ORDER BY z.sequence DESC LIMIT 1
          ), -1)
    ) AS since
    FROM unnest(CAST(:followers AS text[]), CAST(:assets AS text[]), CAST(:quantities AS numeric[]))
         AS a (follower_id, asset, quantity)
""")


class HeldAsset(NamedTuple):
    """An asset of one follower."""

    follower_id: FollowerId
    asset: str


class CarriedExits:
    """One broker's carried exits. All methods block and raise DatabaseUnavailable."""

    def __init__(self, engine: Engine, broker: Broker) -> None:
        self._engine = engine
        self._broker = broker.value

    def all(self, followers: Collection[FollowerId] | None = None) -> list[CarriedExit]:
        """Those of these followers or of all, by follower and asset. Removed followers are left out."""
        asked = {"broker": self._broker, "followers": None if followers is None else list(followers)}
        with transaction(self._engine) as connection:
            rows = connection.execute(_CARRIED, asked).all()
        return [
            CarriedExit(
                follower_id=FollowerId(row.follower_id),
                asset=row.asset,
                position=CopiedPosition(quantity=row.quantity, carried_exit=row.carried_exit),
                occurred_at=row.occurred_at,
                symbol=Symbol.parse(row.symbol),
                sequence=row.sequence,
                price=row.price,
                why=row.why,
            )
            for row in rows
        ]

    def since(self, quantities: Mapping[HeldAsset, Decimal]) -> dict[HeldAsset, datetime]:
        """When each asset began to carry at least this quantity. One that only fees or repairs moved is left out."""
        if not quantities:
            return {}
        asked = {
            "broker": self._broker,
            "followers": [each.follower_id for each in quantities],
            "assets": [each.asset for each in quantities],
            "quantities": list(quantities.values()),
        }
        with transaction(self._engine) as connection:
            rows = connection.execute(_SINCE, asked).all()
        return {HeldAsset(row.follower_id, row.asset): row.since for row in rows if row.since is not None}
