"""Builds lines of the ledger for tests of the comparisons."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from shared.domain.identity import Broker
from shared.persistence.reports.reports import CopyLine, FillReport

NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MASTER: Final = "master"


def fill(sequence: int, side: str, quantity: str, fraction_closed: str = "0") -> FillReport:
    """A fill of a master with 100,000 US dollars."""
    return FillReport(
        broker=Broker.KRAKEN,
        sequence=sequence,
        master_account=MASTER,
        fill_id=f"T{sequence}",
        symbol="BTC/USD",
        side=side,
        price=Decimal(40_000),
        quantity=Decimal(quantity),
        fraction_closed=Decimal(fraction_closed),
        executed_at=NOW,
        published_at=NOW,
        followers=1,
        copied=1,
        skipped=0,
        failed=0,
        pending=0,
        skipped_by_reason={},
        failed_by_reason={},
        latency_ms={},
    )


def copied(sequence: int, side: str, quantity: str, **changes: Any) -> CopyLine:
    """An executed copy order of a follower with 10,000 US dollars."""
    values: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "sequence": sequence,
        "follower_id": "anna",
        "copy_order_id": f"order-{sequence}",
        "symbol": "BTC/USD",
        "side": side,
        "skip_reason": None,
        "quantity": Decimal(quantity),
        "fraction": None,
        "equity": Decimal(10_000),
        "carried_after": Decimal(0),
        "outcome": "copied",
        "filled_quantity": Decimal(quantity),
        "position_after": Decimal(0),
        "carried_exit_after": Decimal(0),
    }
    return CopyLine(**values | changes)
