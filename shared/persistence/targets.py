"""What followers should hold by the ledger: a broker in, the copied position per follower and symbol out. Reads only."""

from sqlalchemy import Engine, text

from shared.domain.identity import Broker
from shared.domain.reconcile import Target
from shared.persistence.database import transaction

_TARGETS = text("""
    SELECT p.follower_id, p.symbol, p.quantity, p.carried_exit, p.sequence, p.occurred_at,
           CASE WHEN e.outcome = 'failed' THEN concat_ws(': ', e.reason, nullif(e.message, '')) END AS failed_exit
    FROM copied_positions p
    LEFT JOIN LATERAL (
        SELECT outcome, reason, message FROM order_events o
        WHERE o.broker = p.broker AND o.follower_id = p.follower_id AND o.symbol = p.symbol
          AND o.side = 'sell' AND o.outcome IS NOT NULL
        ORDER BY o.sequence DESC LIMIT 1
    ) e ON true
    WHERE p.broker = :broker AND (CAST(:follower_id AS text) IS NULL OR p.follower_id = :follower_id)
      AND p.quantity <> 0
    ORDER BY p.follower_id, p.symbol
""")


class Targets:
    """The ledger's targets. Blocks and raises DatabaseUnavailable."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, broker: Broker, follower_id: str | None = None) -> list[Target]:
        """The copied positions that are not empty, of one follower or of all, by follower and symbol."""
        with transaction(self._engine) as connection:
            rows = connection.execute(_TARGETS, {"broker": broker.value, "follower_id": follower_id}).mappings()
            return [Target.model_validate(dict(row)) for row in rows]
