"""Tests how the fields of AddOrder are read, and Kraken's words for wrong ones."""

from decimal import Decimal
from uuid import UUID

import pytest

from services.paper_broker.kraken.order_request import new_order
from services.paper_broker.kraken.replies import KrakenError
from shared.domain.fill import Side
from shared.exchange.orders import OrderType

NOW = 1_700_000_000_000_000
FIELDS = {"pair": "XXBTZUSD", "type": "buy", "ordertype": "market", "volume": "0.5"}
A_UUID = UUID("0b8e2f6d-1c3a-4957-a1d0-c5e4f3b29786")


def test_the_fields_become_an_order_in_canonical_terms() -> None:
    """Wire ids become symbols, text becomes decimals, the deadline becomes microseconds."""
    new = new_order(
        {
            **FIELDS,
            "ordertype": "limit",
            "price": "50000.1",
            "deadline": "2023-11-14T22:13:25.5Z",
            "oflags": "fcib,post",
        },
        NOW,
    )
    assert (new.symbol, new.side, new.type) == ("BTC/USD", Side.BUY, OrderType.LIMIT)
    assert (new.quantity, new.limit_price) == (Decimal("0.5"), Decimal("50000.1"))
    assert new.deadline_at == NOW + 5_500_000
    assert new.fee_in_base
    assert new.post_only


@pytest.mark.parametrize("name", ["XXBTZUSD", "XBTUSD", "XBT/USD"])
def test_a_pair_is_known_by_each_of_its_names(name: str) -> None:
    """Id, altname and websocket name."""
    assert new_order({**FIELDS, "pair": name}, NOW).symbol == "BTC/USD"


@pytest.mark.parametrize("client_order_id", [str(A_UUID), A_UUID.hex, "a", "copy-1/2_x", "x" * 18])
def test_the_three_forms_of_a_client_order_id_are_taken(client_order_id: str) -> None:
    """A UUID with and without dashes, or up to 18 characters."""
    assert new_order({**FIELDS, "cl_ord_id": client_order_id}, NOW).client_order_id == client_order_id


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"pair": "BTC/USD"}, "EQuery:Unknown asset pair"),
        ({"pair": ""}, "EQuery:Unknown asset pair"),
        ({"type": "hold"}, "EGeneral:Invalid arguments:type"),
        ({"ordertype": "iceberg"}, "EGeneral:Invalid arguments:ordertype"),
        ({"volume": "much"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "-1"}, "EGeneral:Invalid arguments:volume"),
        ({"volume": "NaN"}, "EGeneral:Invalid arguments:volume"),
        ({"ordertype": "limit"}, "EGeneral:Invalid arguments:price"),
        ({"ordertype": "limit", "price": "50000.12"}, "EOrder:Invalid price:XBTUSD .* up to 1 decimals"),
        ({"oflags": "fciq,fcib"}, "EGeneral:Invalid arguments:oflags"),
        ({"oflags": "what"}, "EGeneral:Invalid arguments:oflags"),
        ({"leverage": "2"}, "EGeneral:Invalid arguments:leverage"),
        ({"timeinforce": "FOK"}, "EGeneral:Invalid arguments:timeinforce"),
        ({"cl_ord_id": "x" * 19}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "g" * 32}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": ""}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"cl_ord_id": "a", "userref": "1"}, "EGeneral:Invalid arguments:cl_ord_id"),
        ({"userref": "one"}, "EGeneral:Invalid arguments:userref"),
        ({"deadline": "soon"}, "EGeneral:Invalid arguments:deadline"),
        ({"deadline": "2023-11-14T22:13:25"}, "EGeneral:Invalid arguments:deadline"),
        ({"deadline": "2023-11-14T22:15:00Z"}, "EGeneral:Invalid arguments:deadline"),
    ],
)
def test_wrong_fields_are_refused_in_krakens_words(change: dict[str, str], expected: str) -> None:
    """Each refusal names the field, as Kraken does."""
    with pytest.raises(KrakenError, match=expected):
        new_order({**FIELDS, **change}, NOW)
