"""Tests how the fields of an order are read, and OKX's codes for wrong ones."""

from decimal import Decimal
from typing import Any

import pytest

from services.paper_broker.okx.order_request import expiry, requested_order
from services.paper_broker.okx.replies import OkxError
from shared.domain.fill import Side
from shared.exchange.orders import OrderType

FIELDS = {"instId": "BTC-USDT", "tdMode": "cash", "side": "buy", "ordType": "market", "sz": "0.5"}


def test_the_fields_become_an_order_in_canonical_terms() -> None:
    """Wire names become symbols, text becomes decimals; the fee of a buy is taken in the coin."""
    requested = requested_order({**FIELDS, "ordType": "limit", "px": "50000.1", "clOrdId": "a1"}, 7)
    new = requested.new
    assert (new.symbol, new.side, new.type) == ("BTC/USDT", Side.BUY, OrderType.LIMIT)
    assert (new.quantity, new.limit_price) == (Decimal("0.5"), Decimal("50000.1"))
    assert (new.client_order_id, new.deadline_at) == ("a1", 7)
    assert new.fee_in_base
    assert not requested.may_shrink


@pytest.mark.parametrize(
    ("side", "target", "in_quote"),
    [
        ("buy", None, True),
        ("buy", "quote_ccy", True),
        ("buy", "base_ccy", False),
        ("sell", None, False),
        ("sell", "base_ccy", False),
    ],
)
def test_a_market_buy_is_by_cost_unless_it_says_otherwise(side: str, target: str | None, in_quote: bool) -> None:
    """`tgtCcy`: the trap of OKX's default."""
    new = requested_order({**FIELDS, "side": side, "tgtCcy": target}, None).new
    assert new.quote_sized is in_quote
    assert new.fee_in_base is (side == "buy")


@pytest.mark.parametrize(
    ("value", "may_shrink"), [(True, False), ("true", False), (False, True), ("false", True), ("", True), (None, True)]
)
def test_a_market_order_may_shrink_unless_that_is_forbidden(value: Any, may_shrink: bool) -> None:
    """`banAmend`: the other trap."""
    assert requested_order({**FIELDS, "banAmend": value}, None).may_shrink is may_shrink


@pytest.mark.parametrize("client_order_id", ["a", "0" * 32, "0b8e2f6d1c3a4957a1d0c5e4f3b29786", "ABCdef123"])
def test_client_order_ids_are_letters_and_digits(client_order_id: str) -> None:
    """Up to 32."""
    assert requested_order({**FIELDS, "clOrdId": client_order_id}, None).new.client_order_id == client_order_id


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"instId": "BTC/USDT"}, "51001", "exist"),
        ({"instId": ""}, "50014", "instId"),
        ({"instId": 7}, "51000", "instId"),
        ({"tdMode": "cross"}, "51000", "tdMode"),
        ({"tdMode": None}, "50014", "tdMode"),
        ({"side": "hold"}, "51000", "side"),
        ({"ordType": "iceberg"}, "51000", "ordType"),
        ({"sz": None}, "50014", "sz"),
        ({"sz": "much"}, "51000", "sz"),
        ({"sz": "-1"}, "51000", "sz"),
        ({"sz": "NaN"}, "51000", "sz"),
        ({"sz": True}, "51000", "sz"),
        ({"ordType": "limit"}, "50014", "px"),
        ({"tgtCcy": "coin"}, "51000", "tgtCcy"),
        ({"clOrdId": "x" * 33}, "51000", "clOrdId"),
        ({"clOrdId": "0b8e2f6d-1c3a-4957-a1d0-c5e4f3b29786"}, "51000", "clOrdId"),
        ({"clOrdId": 7}, "51000", "clOrdId"),
        ({"tag": "x" * 17}, "51000", "tag"),
        ({"banAmend": "maybe"}, "51000", "banAmend"),
    ],
)
def test_wrong_fields_are_refused_by_okxs_codes(change: dict[str, Any], code: str, words: str) -> None:
    """Each refusal names the field, as OKX does."""
    with pytest.raises(OkxError, match=words) as raised:
        requested_order({**FIELDS, **change}, None)
    assert raised.value.problem.code == code


def test_the_expiry_ends_after_its_millisecond() -> None:
    """Milliseconds become microseconds, an order may have no expiry, and a text that is no number is refused."""
    assert expiry("1700000000123") == 1_700_000_000_124_000
    assert expiry(None) is expiry("") is None
    for text in ("soon", "-1", "1.5", "٣"):
        with pytest.raises(OkxError):
            expiry(text)
