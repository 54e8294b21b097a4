"""Tests OKX's pairs and ids: tether, whole costs, fees finer than lots, ids that grow."""

from decimal import Decimal

from services.paper_broker.okx.identifiers import identifiers
from services.paper_broker.okx.wire_names import IDS, INSTRUMENTS_BY_ID, INSTRUMENTS_BY_SYMBOL


def test_pairs_are_quoted_in_tether_or_bitcoin_and_have_one_name_each() -> None:
    """`BTC-USDT` is `BTC/USDT` and `ETH-BTC` is `ETH/BTC`; tether itself is no pair."""
    assert INSTRUMENTS_BY_ID["BTC-USDT"] is INSTRUMENTS_BY_SYMBOL["BTC/USDT"]
    assert INSTRUMENTS_BY_ID["ETH-BTC"].symbol == "ETH/BTC"
    assert {name for name, each in INSTRUMENTS_BY_ID.items() if each.quote != "USDT"} == {"ETH-BTC"}
    assert "USDT/USDT" not in INSTRUMENTS_BY_SYMBOL
    assert sorted(IDS.values()) == sorted(INSTRUMENTS_BY_ID)


def test_costs_are_exact_and_fees_finer_than_lots() -> None:
    """A lot at a tick is a whole cost step; there is no minimum of cost."""
    for instrument in INSTRUMENTS_BY_ID.values():
        assert instrument.lot * instrument.price_tick == instrument.cost_step
        assert instrument.base_fee_step < instrument.lot
        assert instrument.minimum_cost == Decimal(0)
        assert instrument.minimum_quantity % instrument.lot == 0


def test_ids_grow_and_depend_on_the_seed_only() -> None:
    """Pages are cut by them."""
    first, again, other = identifiers(1), identifiers(1), identifiers(2)
    for name in ("order_id", "fill_id"):
        ids = [getattr(first, name)(number) for number in range(1, 500)]
        assert ids == sorted(ids, key=int)
        assert len(set(ids)) == len(ids)
        assert ids == [getattr(again, name)(number) for number in range(1, 500)]
        assert ids != [getattr(other, name)(number) for number in range(1, 500)]
