"""Reads past fills from the ledger, with the decision for each follower and its inputs.

Reads only. All methods block and raise DatabaseUnavailable.
"""

from typing import Any

from sqlalchemy import Engine, text

from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.replay import RecordedDecision
from shared.domain.identity import Broker
from shared.domain.instrument import Instrument
from shared.persistence.database import transaction

_FILLS = text("""
    SELECT sequence, broker, master_account, fill_id, order_id, symbol, side, price, quantity, cost, fee, fee_currency,
           master_equity_before, quote_price, traded_position_before, fraction_closed, executed_at,
           published_at, trace_id
    FROM master_fills
    WHERE (CAST(:broker AS text) IS NULL OR broker = :broker)
      AND (fill_id = :fill OR sequence = CAST(:sequence AS bigint))
    ORDER BY broker, sequence
""")

# An account that could not be read three times in a row has a stale row after the snapshot that then stands.
_DECISIONS = text("""
    SELECT d.follower_id, d.status, d.stop_mode, d.minimum_notional, d.equity, d.snapshot_at, d.carried_before,
           d.decided_at, d.skip_reason, d.quantity, d.fraction, d.carried_after, i.instrument,
           EXISTS (
               SELECT FROM account_snapshots a
               WHERE a.broker = d.broker AND a.follower_id = d.follower_id AND a.stale
                 AND a.occurred_at > d.snapshot_at AND a.occurred_at <= d.decided_at
           ) AS account_unavailable
    FROM decisions d LEFT JOIN instruments i ON i.digest = d.instrument_digest
    WHERE d.broker = :broker AND d.sequence = :sequence
    ORDER BY d.follower_id
""")

_LARGEST_SEQUENCE = 2**63 - 1


class RecordedDecisions:
    """What the ledger has of past decisions."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def fills(self, fill: str, broker: Broker | None = None) -> list[MasterFill]:
        """The fills of that id or number; several when brokers or masters share it."""
        number = int(fill) if fill.isascii() and fill.isdigit() else None
        asked: dict[str, Any] = {
            "broker": broker.value if broker else None,
            "fill": fill,
            "sequence": number if number is not None and number <= _LARGEST_SEQUENCE else None,
        }
        with transaction(self._engine) as connection:
            return [MasterFill.model_validate(dict(row)) for row in connection.execute(_FILLS, asked).mappings()]

    def of(self, fill: MasterFill) -> list[RecordedDecision]:
        """The decisions of a fill, by follower."""
        asked = {"broker": fill.broker.value, "sequence": fill.sequence}
        with transaction(self._engine) as connection:
            rows = [dict(row) for row in connection.execute(_DECISIONS, asked).mappings()]
        # A fill's decisions share one instrument, or a few: each is read once.
        known: dict[str, Instrument] = {}
        for row in rows:
            document = row["instrument"]
            if document is not None:
                row["instrument"] = known.setdefault(str(document), Instrument.model_validate(document))
        return [RecordedDecision.model_validate(row) for row in rows]
