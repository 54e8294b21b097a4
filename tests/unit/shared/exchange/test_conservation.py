"""No money appears or vanishes but for fees, whatever is done in whatever order; and a journal replays to the same."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.paper_broker.order_log import shown_account, shown_fill, shown_order
from shared.domain.fill import Side
from shared.exchange.accounts import ApiKey
from shared.exchange.market_modes import MarketMode
from shared.exchange.orders import ExchangeOrderState, ExecutionTerms, NewOrder, OrderType
from shared.exchange.refusals import Refused

LOTS = st.integers(min_value=5_000, max_value=90_000_000).map(lambda lots: Decimal(lots).scaleb(-8))
PRICES = st.integers(min_value=300_000, max_value=700_000).map(lambda ticks: Decimal(ticks).scaleb(-1))
COSTS = st.integers(min_value=50_000, max_value=3_000_000_000).map(lambda steps: Decimal(steps).scaleb(-5))
SIDES = st.sampled_from(Side)
EXECUTIONS = st.builds(
    ExecutionTerms,
    fraction=st.sampled_from([Decimal(text) for text in ("0", "0.3", "0.999", "1", "1", "1")]),
    rest_after_microseconds=st.sampled_from([None, 0, 1_000_000, 5_000_000]),
    rest_is_canceled=st.booleans(),
)
ORDERS = st.one_of(
    st.builds(
        lambda side, quantity, fee_in_base: NewOrder(
            "BTC/USD", side, OrderType.MARKET, quantity, fee_in_base=fee_in_base
        ),
        SIDES,
        LOTS,
        st.booleans(),
    ),
    st.builds(lambda cost: NewOrder("BTC/USD", Side.BUY, OrderType.MARKET, cost, quote_sized=True), COSTS),
    st.builds(
        lambda side, quantity, price, fee_in_base: NewOrder(
            "BTC/USD", side, OrderType.LIMIT, quantity, limit_price=price, fee_in_base=fee_in_base
        ),
        SIDES,
        LOTS,
        PRICES,
        st.booleans(),
    ),
)
PLACE = st.tuples(st.just("place"), st.integers(0, 1), ORDERS, EXECUTIONS)
STEPS = st.one_of(
    PLACE,
    PLACE,
    PLACE,
    st.tuples(st.just("price"), PRICES),
    st.tuples(st.just("wait"), st.integers(1, 10)),
    st.tuples(st.just("cancel"), st.integers(0, 1)),
)
DEPOSITS = ({"USD": "40000", "BTC": "0.8"}, {"USD": "777.77", "BTC": "0"})


def _do(bench: Any, keys: list[ApiKey], step: tuple[Any, ...]) -> None:
    if step[0] == "place":
        with suppress(Refused):
            bench.exchange.place(keys[step[1]], step[2], step[3])
    elif step[0] == "price":
        bench.exchange.pin_price("BTC/USD", step[1])
    elif step[0] == "wait":
        bench.wait(step[1])
    else:
        for order in list(keys[step[1]].account.open_orders.values())[:1]:
            bench.exchange.cancel(order)
    bench.journal.commit()


def _check(bench: Any, keys: list[ApiKey]) -> None:
    for key, deposit in zip(keys, DEPOSITS, strict=True):
        account = key.account
        expected = {currency: Decimal(amount) for currency, amount in deposit.items()}
        for fill in account.fills:
            sign = 1 if fill.order.side is Side.BUY else -1
            expected["BTC"] += sign * fill.quantity
            expected["USD"] -= sign * fill.cost
            expected[fill.fee_currency] -= fill.fee
            assert fill.fee >= 0
        for currency, total in expected.items():
            holding = account.holding(currency)
            assert holding.total == total
            assert holding.free >= 0
            assert holding.hold == sum(
                order.hold for order in account.open_orders.values() if (currency == "USD") == (order.side is Side.BUY)
            )
        for order in account.orders:
            assert order.filled == sum(fill.quantity for fill in order.fills)
            assert order.remaining >= 0
            assert (order.state is ExchangeOrderState.OPEN) == (order.order_id in account.open_orders)
            assert order.state is ExchangeOrderState.OPEN or order.hold == 0
            if order.state is ExchangeOrderState.OPEN and order.limit_price is not None:
                owed = order.remaining * (order.limit_price if order.side is Side.BUY else 1)
                assert order.hold >= owed


def _shown(bench: Any) -> Any:
    """All that is remembered, as plain values."""
    state = bench.state
    return (
        [shown_account(each, [state.keys[name] for name in each.api_keys]) for each in state.accounts.values()],
        [(shown_order(order), order.hold, order.due_at, order.visible_at) for order in state.orders],
        [shown_fill(fill) for fill in state.fills],
        state.pinned_prices,
        state.market_modes,
        state.largest_market_orders,
    )


@settings(max_examples=300, deadline=None)
@given(steps=st.lists(STEPS, min_size=12, max_size=30))
def test_no_money_appears_or_vanishes_except_fees(make_bench: Callable[[Path | None], Any], steps: list[Any]) -> None:
    """After every step totals are deposits plus fills less fees, nothing is negative, and holds belong to orders."""
    bench = make_bench(None)
    bench.exchange.pin_price("BTC/USD", Decimal(50_000))
    keys = [bench.account(name, **deposit) for name, deposit in zip("ab", DEPOSITS, strict=True)]
    for step in steps:
        _do(bench, keys, step)
        _check(bench, keys)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(STEPS, max_size=20))
def test_a_restart_stands_where_the_killed_exchange_stood(
    make_bench: Callable[[Path | None], Any], steps: list[Any]
) -> None:
    """Balances, holds, orders, fills and pinned prices are the same, and it goes on in the same way."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state"
        bench = make_bench(path)
        bench.exchange.pin_price("BTC/USD", Decimal(50_000))
        keys = [bench.account(name, **deposit) for name, deposit in zip("ab", DEPOSITS, strict=True)]
        for step in steps:
            _do(bench, keys, step)
        bench.state.change_access(keys[0], frozenset({"trade"}), frozenset({"10.0.0.1"}))
        bench.state.add_key(keys[0].account, "second", "c2VjcmV0", frozenset())
        bench.state.set_market_mode("BTC/USD", MarketMode.LIMIT_ONLY)
        bench.state.set_largest_market_order("BTC/USD", Decimal("0.5"))
        bench.journal.commit()
        before = _shown(bench)
        bench.journal.close()
        again = make_bench(path)
        again.now = bench.now
        assert _shown(again) == before
        again.wait(60)
        _check(again, [again.state.keys[key.api_key] for key in keys])
        again.journal.close()
