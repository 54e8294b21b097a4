"""Tests the exchange: matching, holds, fees, refusals and the ways in which an order can end."""

from decimal import Decimal
from typing import Any

import pytest

from shared.domain.fill import Side
from shared.domain.instrument import TimeInForce
from shared.exchange import refusals
from shared.exchange.orders import ExchangeOrderState, ExecutionTerms, NewOrder, OrderType

SECOND = 1_000_000


def _market(side: Side, quantity: str, **fields: Any) -> NewOrder:
    return NewOrder("BTC/USD", side, OrderType.MARKET, Decimal(quantity), **fields)


def _limit(side: Side, quantity: str, price: str, **fields: Any) -> NewOrder:
    return NewOrder("BTC/USD", side, OrderType.LIMIT, Decimal(quantity), limit_price=Decimal(price), **fields)


def test_a_market_buy_pays_the_ask_and_the_fee(bench: Any) -> None:
    """Coins arrive in full, cost and 0.26% leave in quote currency."""
    key = bench.account("a", USD="10000")
    order = bench.exchange.place(key, _market(Side.BUY, "0.1"))
    ask = bench.exchange.book("BTC/USD").best_ask
    assert ask > 50_000
    assert order.state is ExchangeOrderState.FILLED
    assert order.cost == ask * Decimal("0.1")
    assert order.fee == (order.cost * Decimal("0.0026")).quantize(Decimal("0.00001"))
    assert key.account.holdings["BTC"].total == Decimal("0.1")
    assert key.account.holdings["USD"].total == 10_000 - order.cost - order.fee


def test_a_large_order_walks_the_levels(bench: Any) -> None:
    """Each level gives one fill, at prices that only get worse."""
    key = bench.account("a", USD="1000000")
    order = bench.exchange.place(key, _market(Side.BUY, "10"))
    prices = [fill.price for fill in order.fills]
    assert len(prices) > 2
    assert prices == sorted(set(prices))
    assert order.filled == 10


def test_a_market_order_beyond_the_book_is_cut_and_canceled(bench: Any) -> None:
    """What the book does not have is not executed."""
    key = bench.account("a", USD="10000000000")
    order = bench.exchange.place(key, _market(Side.BUY, "100000"))
    assert order.state is ExchangeOrderState.CANCELED
    assert 0 < order.filled < 100_000
    assert order.reason == "Insufficient liquidity"


def test_an_order_by_cost_spends_no_more_than_it_says(bench: Any) -> None:
    """Whole lots for at most the cost; the fee comes on top."""
    key = bench.account("a", USD="1000")
    order = bench.exchange.place(key, _market(Side.BUY, "50", quote_sized=True))
    assert order.state is ExchangeOrderState.FILLED
    assert Decimal("49.99") < order.cost <= 50


def test_a_fee_in_the_coin_is_taken_from_the_coins(bench: Any) -> None:
    """The buyer gets the quantity less the fee and pays the bare cost."""
    key = bench.account("a", USD="10000")
    order = bench.exchange.place(key, _market(Side.BUY, "0.1", fee_in_base=True))
    assert order.fee == Decimal("0.00026")
    assert key.account.holdings["BTC"].total == Decimal("0.09974")
    assert key.account.holdings["USD"].total == 10_000 - order.cost


def test_who_sells_all_coins_pays_the_fee_from_the_proceeds(bench: Any) -> None:
    """The preference for the coin gives way when there is none left."""
    key = bench.account("a", BTC="0.1")
    order = bench.exchange.place(key, _market(Side.SELL, "0.1", fee_in_base=True))
    assert not order.fee_in_base
    assert key.account.holdings["BTC"].total == 0
    assert key.account.holdings["USD"].total == order.cost - order.fee


def test_a_limit_order_holds_money_rests_and_fills_as_maker_when_the_price_comes(bench: Any) -> None:
    """The hold covers cost and fee; the fill is at the limit, at the maker's rate, and frees the rest."""
    key = bench.account("a", USD="10000")
    order = bench.exchange.place(key, _limit(Side.BUY, "0.1", "49000"))
    usd = key.account.holdings["USD"]
    assert order.state is ExchangeOrderState.OPEN
    assert usd.hold == Decimal("4912.74")
    bench.exchange.pin_price("BTC/USD", Decimal(48_900))
    assert order.state is ExchangeOrderState.FILLED
    assert order.fills[0].is_maker
    assert (order.cost, order.fee, usd.hold) == (Decimal(4900), Decimal("7.84"), 0)


def test_a_limit_order_that_crosses_takes_and_the_rest_stays(bench: Any) -> None:
    """The part up to the limit is a taker fill; the rest is held."""
    key = bench.account("a", USD="10000000")
    best = bench.exchange.book("BTC/USD").asks[0]
    order = bench.exchange.place(key, _limit(Side.BUY, "50", str(best.price)))
    assert order.filled == best.quantity
    assert order.state is ExchangeOrderState.OPEN
    assert key.account.holdings["USD"].hold >= (50 - best.quantity) * best.price
    bench.exchange.cancel(order)
    assert order.state is ExchangeOrderState.CANCELED
    assert key.account.holdings["USD"].hold == 0


def test_an_immediate_or_cancel_order_never_rests(bench: Any) -> None:
    """Nothing to take: canceled at once, nothing held."""
    key = bench.account("a", USD="10000")
    order = bench.exchange.place(key, _limit(Side.BUY, "0.1", "40000", time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL))
    assert (order.state, order.filled) == (ExchangeOrderState.CANCELED, 0)


def test_an_immediate_or_cancel_order_ends_with_its_first_executions(bench: Any) -> None:
    """A partial fill of such an order is never completed later: the rest is canceled at once."""
    key = bench.account("a", USD="10000")
    execution = ExecutionTerms(Decimal("0.25"), rest_after_microseconds=2 * SECOND)
    new = _limit(Side.BUY, "0.1", "60000", time_in_force=TimeInForce.IMMEDIATE_OR_CANCEL)
    order = bench.exchange.place(key, new, execution)
    assert (order.state, order.filled) == (ExchangeOrderState.CANCELED, Decimal("0.025"))
    bench.wait(3)
    assert (order.filled, order.hold) == (Decimal("0.025"), 0)


@pytest.mark.parametrize(
    ("new", "refusal"),
    [
        (NewOrder("XYZ/USD", Side.BUY, OrderType.MARKET, Decimal(1)), refusals.UnknownSymbol),
        (_market(Side.BUY, "0.00004999"), refusals.BelowMinimumQuantity),
        (_limit(Side.BUY, "0.00005", "9000"), refusals.BelowMinimumCost),
        (_market(Side.BUY, "0.4", quote_sized=True), refusals.BelowMinimumQuantity),
        (_market(Side.BUY, "0.123456789"), refusals.InvalidField),
        (_limit(Side.BUY, "0.1", "50000.01"), refusals.InvalidField),
        (_market(Side.SELL, "50", quote_sized=True), refusals.InvalidField),
        (_market(Side.BUY, "1"), refusals.NotEnoughFunds),
        (_market(Side.SELL, "0.1"), refusals.NotEnoughFunds),
        (_limit(Side.BUY, "0.21", "49000"), refusals.NotEnoughFunds),
        (_limit(Side.BUY, "0.1", "60000", post_only=True), refusals.WouldTake),
        (_market(Side.BUY, "0.1", deadline_at=0), refusals.DeadlinePassed),
    ],
)
def test_a_refused_order_changes_nothing(bench: Any, new: NewOrder, refusal: type[refusals.Refused]) -> None:
    """The refusal has its class; no order, no hold and no coin moved."""
    key = bench.account("a", USD="10000")
    with pytest.raises(refusal):
        bench.exchange.place(key, new)
    assert not bench.state.orders
    assert key.account.free("USD") == 10_000


def test_a_client_order_id_is_unique_among_open_orders_only(bench: Any) -> None:
    """Sent again while open it is refused; sent again when filled it buys twice, as at the real broker."""
    key, other = bench.account("a", USD="10000"), bench.account("b", USD="10000")
    bench.exchange.place(key, _limit(Side.BUY, "0.01", "40000", client_order_id="same"))
    with pytest.raises(refusals.DuplicateClientOrderId):
        bench.exchange.place(key, _market(Side.BUY, "0.01", client_order_id="same"))
    bench.exchange.place(other, _market(Side.BUY, "0.01", client_order_id="same"))
    bench.exchange.place(other, _market(Side.BUY, "0.01", client_order_id="same"))
    assert other.account.holdings["BTC"].total == Decimal("0.02")


def test_a_partial_fill_is_completed_later(bench: Any) -> None:
    """A quarter at once, the rest after two seconds, held in between."""
    key = bench.account("a", USD="10000")
    execution = ExecutionTerms(Decimal("0.25"), rest_after_microseconds=2 * SECOND)
    order = bench.exchange.place(key, _market(Side.BUY, "0.1"), execution)
    assert (order.state, order.filled) == (ExchangeOrderState.OPEN, Decimal("0.025"))
    assert key.account.holdings["USD"].hold > 3700
    bench.wait(1.9)
    assert order.state is ExchangeOrderState.OPEN
    bench.wait(0.1)
    assert (order.state, order.filled, order.hold) == (ExchangeOrderState.FILLED, Decimal("0.1"), 0)


@pytest.mark.parametrize("after", [None, SECOND])
def test_a_partial_fill_is_canceled(bench: Any, after: int | None) -> None:
    """At once or later; what was executed stays executed."""
    key = bench.account("a", USD="10000")
    execution = ExecutionTerms(Decimal("0.5"), rest_after_microseconds=after, rest_is_canceled=True)
    order = bench.exchange.place(key, _market(Side.BUY, "0.1"), execution)
    bench.wait(1)
    assert (order.state, order.filled) == (ExchangeOrderState.CANCELED, Decimal("0.05"))
    assert key.account.holdings["USD"].hold == 0


def test_a_late_fill_buys_what_is_affordable_when_its_time_comes(bench: Any) -> None:
    """The price rose while the order waited: no debt arises, the rest is canceled."""
    key = bench.account("a", USD="5100")
    execution = ExecutionTerms(Decimal(0), rest_after_microseconds=SECOND)
    order = bench.exchange.place(key, _market(Side.BUY, "0.1"), execution)
    bench.exchange.pin_price("BTC/USD", Decimal(60_000))
    bench.wait(1)
    assert order.state is ExchangeOrderState.CANCELED
    assert Decimal("0.08") < order.filled < Decimal("0.1")
    assert 0 <= key.account.free("USD") < 1


def test_canceling_twice_is_refused(bench: Any) -> None:
    """The second time there is no such open order."""
    key = bench.account("a", USD="10000")
    order = bench.exchange.place(key, _limit(Side.BUY, "0.1", "40000"))
    bench.exchange.cancel(order)
    with pytest.raises(refusals.UnknownOrder):
        bench.exchange.cancel(order)


@pytest.mark.parametrize("price", ["0", "0.1", "50000.05", "-5"])
def test_a_price_that_cannot_be_is_not_pinned(bench: Any, price: str) -> None:
    """It must be a multiple of the tick with room for a bid below."""
    with pytest.raises(refusals.InvalidField):
        bench.exchange.pin_price("BTC/USD", Decimal(price))
    assert bench.exchange.price("BTC/USD") == 50_000
