"""Tests that the table of copied positions is easy to read, while the JSON output keeps every digit."""

from datetime import UTC, datetime

import pytest

from services.cli import output
from services.cli.ledger import positions
from shared.domain.identity import Broker
from shared.persistence.reports.reports import PositionLine


@pytest.mark.parametrize(
    ("carried", "reported"),
    [
        ("0", " 0 "),
        ("0.000000009840637450199203187251", "< 0.00000001"),
        ("0.123456789840637450199203187251", " 0.12345678 "),
        ("0.5", " 0.5 "),
    ],
)
def test_what_is_still_to_sell_is_told_in_eight_places(carried: str, reported: str) -> None:
    """More places do not help a reader, and make the table wider than a screen."""
    line = PositionLine.model_validate(
        {
            "broker": Broker.KRAKEN,
            "follower_id": "alice",
            "asset": "BTC",
            "quantity": "0.40102588",
            "carried_exit": carried,
            "sequence": 2,
            "occurred_at": datetime(2026, 1, 2, tzinfo=UTC),
        }
    )
    with output.console.capture() as captured:
        positions.show_positions([line])
    assert reported in captured.get()
    assert max(map(len, captured.get().splitlines())) <= 80
    assert line.model_dump(mode="json")["carried_exit"] == carried


@pytest.mark.parametrize(("owed", "reported"), [("0", "0"), ("0.25", "0.25"), (None, "?")])
def test_what_is_owed_has_a_column_of_its_own(owed: str | None, reported: str) -> None:
    """A question mark: Redis, which has the minimums of the broker, does not answer."""
    line = PositionLine.model_validate(
        {
            "broker": Broker.KRAKEN,
            "follower_id": "alice",
            "asset": "BTC",
            "quantity": "1.5",
            "carried_exit": "0.75",
            "sequence": 2,
            "occurred_at": datetime(2026, 1, 2, tzinfo=UTC),
            "owed": owed,
        }
    )
    with output.console.capture() as captured:
        positions.show_positions([line])
    [row] = [text for text in captured.get().splitlines() if "alice" in text]
    assert row.split()[:6] == ["alice", "BTC", "1.5", "0.75", reported, "2"]
