"""Tests the table of copy orders, which shows the age of an order with an unknown outcome."""

from datetime import UTC, datetime, timedelta

import pytest

from services.cli import output
from services.cli.ledger import orders
from shared.domain.identity import Broker
from shared.persistence.reports.order_lines import OrderLine


def a_line(state: str, sent_ago: timedelta) -> OrderLine:
    """A purchase that was sent `sent_ago` before now."""
    sent = datetime.now(UTC) - sent_ago
    return OrderLine.model_validate(
        {
            "broker": Broker.KRAKEN,
            "sequence": 7,
            "follower_id": "alice",
            "copy_order_id": "0" * 32,
            "symbol": "BTC/USD",
            "side": "buy",
            "state": state,
            "outcome": None,
            "reason": None,
            "message": "no answer",
            "attempt": 1,
            "broker_order_id": None,
            "quantity": "0.1",
            "scale_factor": "0.01",
            "filled_quantity": "0",
            "cost": "0",
            "fee": "0",
            "fee_currency": "",
            "decided_at": sent,
            "submitted_at": sent,
            "occurred_at": sent,
        }
    )


def shown(*lines: OrderLine) -> str:
    """The table as text."""
    with output.console.capture() as captured:
        orders.show_orders(lines)
    return captured.get()


def test_an_unknown_order_is_shown_with_its_age_and_what_is_known() -> None:
    """An unknown order is shown with the time since it was sent and the broker's message. Other orders have no age."""
    text = shown(a_line("unknown", timedelta(minutes=3, seconds=5.5)), a_line("accepted", timedelta(hours=2)))
    assert "3 min 5 s ago" in text
    assert "no answer" in text
    assert "2 h" not in text


LONG = (
    'OKX GET https://www.okx.com/api/v5/trade/order?instId=BTC-USDT&clOrdId=0123456789abcdef0123456789abcdef {"code":"1",'
    '"data":[{"clOrdId":"0123456789abcdef0123456789abcdef","sCode":"51008","sMsg":"Order failed. Insufficient USDT"}]}'
)


def test_a_long_message_of_a_broker_leaves_the_table_on_an_80_column_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every column is wide. Yet no line is wider than the screen, no amount is broken, and the message is cut off."""
    monkeypatch.setattr(output, "console", output._console(80))
    executed = {
        "filled_quantity": "0.00765432",
        "cost": "28391.182308161",
        "fee": "73.818740012",
        "fee_currency": "USD",
    }
    executed |= {"broker": "coinbase", "follower_id": "paper_three", "sequence": 12345, "message": ""}
    filled = a_line("filled", timedelta()).model_dump(mode="json") | executed
    lines = [
        a_line("unknown", timedelta(minutes=3, seconds=5.5)).model_copy(update={"message": LONG}),
        OrderLine.model_validate(filled),
    ]
    text = shown(*lines)
    assert max(map(len, text.splitlines())) <= 80
    words = set(text.replace(",", "").split())
    assert {"0.00765432", "28391.18230816", "73.81874001", "BTC/USD", "paper_three"} <= words
    _, heading, *rows = text.splitlines()
    reported = "".join(row[heading.index("why") :].strip() for row in rows).replace(" ", "")
    assert LONG[:150].replace(" ", "") in reported
    assert "…" in reported
    assert "sMsg" not in reported


def test_a_decision_against_a_copy_is_shown_with_the_reason() -> None:
    """No quantity was ordered, so none is shown."""
    skipped = a_line("skipped", timedelta()).model_copy(
        update={"quantity": None, "reason": "below_minimum", "message": ""}
    )
    text = shown(skipped)
    assert "buy BTC/USD" in text
    assert "below_minimum" in text
    assert "copied part" not in text


def test_without_unknown_orders_there_is_no_column_of_ages() -> None:
    """Without an unknown order, no age is of interest."""
    assert "sent" not in shown(a_line("accepted", timedelta(hours=2)))
