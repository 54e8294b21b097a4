"""Tests the table of fills, which shows how each fill ended for the followers, and why copies were skipped or failed."""

from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from services.cli import output
from services.cli.ledger import fills
from shared.domain.identity import Broker
from shared.persistence.reports.reports import FillReport, StageLatency


@pytest.fixture(autouse=True)
def _narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A screen of 80 columns."""
    monkeypatch.setattr(output, "console", Console(width=80, highlight=False, markup=False))


def a_fill(**changes: Any) -> FillReport:
    """A purchase that 10,000 followers should copy."""
    fields: dict[str, Any] = {
        "broker": Broker.KRAKEN,
        "sequence": 10_432,
        "master_account": "main",
        "fill_id": "T1",
        "symbol": "BTC/USD",
        "side": "buy",
        "price": "50123.4",
        "quantity": "0.12345678",
        "fraction_closed": "0",
        "executed_at": datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
        "published_at": datetime(2026, 1, 5, 12, 0, tzinfo=UTC),
        "followers": 10_000,
        "copied": 9_000,
        "skipped": 912,
        "failed": 85,
        "pending": 3,
        "skipped_by_reason": {"below_minimum": 900, "account_unavailable": 12},
        "failed_by_reason": {"insufficient_funds": 80, "rejected": 5},
        "latency_ms": {"total": StageLatency(count=9_000, p50=812.3, p99=61_204.9)},
    }
    return FillReport.model_validate(fields | changes)


def shown(*found: FillReport) -> str:
    with output.console.capture() as captured:
        fills.show_fills(found)
    return captured.get()


def test_counts_and_reasons_are_readable_at_80_columns() -> None:
    """No line is wider, no number or reason is broken, and the broker is named where there are several."""
    for found in ([a_fill()], [a_fill(), a_fill(broker=Broker.COINBASE, sequence=7)]):
        text = shown(*found)
        assert max(map(len, text.splitlines())) <= 80
        for part in ("10432", "10000", "9000", "912", "85", "0.12345678", "50123.4"):
            assert part in text
        for part in ("900 below_minimum", "12 account_unavailable", "80 insufficient_funds", "5 rejected"):
            assert part in text


def test_without_skips_and_failures_there_is_no_table_of_reasons() -> None:
    """A fill that every follower copied has no row there."""
    copied = a_fill(copied=9_997, skipped=0, failed=0, skipped_by_reason={}, failed_by_reason={}, sequence=12)
    assert "why copies" not in shown(copied)
    _, reasons = shown(copied, a_fill()).split("why copies were skipped or failed")
    assert "10432" in reasons
    assert "12 " not in reasons.replace("12 account_unavailable", "")
