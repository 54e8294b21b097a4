"""Draws accounts, markets and questions for the property tests of the capital rules."""

from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from shared.domain.capital.drawdown import DrawdownState, first_record
from shared.domain.capital.facts import AccountFacts, HeldPosition, RequestedOdds
from shared.domain.capital.regime import MarketRegime
from shared.domain.fill import Side
from shared.domain.market_data import BookLevel, OrderBook
from tests.support.capital import (
    a_book,
    a_margin_account,
    a_market,
    a_position,
    a_request,
    a_spot_account,
    gate_inputs,
    instrument_of,
)
from tests.support.examples import NOW


def amounts(smallest: str, largest: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    """Amounts in that range with `places` decimal places."""
    return st.decimals(Decimal(smallest), Decimal(largest), allow_nan=False, places=places)


EQUITIES = st.one_of(amounts("0", "20000"), amounts("990", "1010"), amounts("4990", "5010"), amounts("0", "1e9"))
REGIMES = st.none() | st.sampled_from(MarketRegime)
RATES = st.none() | amounts("0", "1", 4)
STATES = st.sampled_from(DrawdownState)
LOTS = ["0.00000001", "0.0001", "0.001", "1"]
ASSETS = st.sampled_from(["BTC", "ETH", "BNB", "SOL", "XRP"])


@st.composite
def books(draw: st.DrawFn) -> OrderBook:
    """Books of up to 30 levels a side around 100, some of them empty or thin."""
    size = st.integers(0, 30)
    quantities = amounts("0", "1000", 6)
    tick = Decimal(1) / draw(st.sampled_from([5, 10, 1000]))
    bids = [BookLevel(100 - index * tick, draw(quantities)) for index in range(draw(size))]
    asks = [BookLevel(100 + index * tick, draw(quantities)) for index in range(draw(size))]
    return OrderBook(symbol="BTC/USD", bids=tuple(bids), asks=tuple(asks), at=NOW)


@st.composite
def positions(draw: st.DrawFn) -> HeldPosition:
    """Long, short, unpriced and foreign positions."""
    is_own = draw(st.booleans())
    return a_position(
        draw(ASSETS),
        quantity=draw(amounts("-50", "50", 4)),
        price=draw(st.none() | amounts("0.01", "1000")),
        entry_price=draw(amounts("0.01", "1000")) if is_own else None,
        opened_by_nija=is_own,
        score=draw(st.none() | amounts("0", "100")),
    )


@st.composite
def accounts(draw: st.DrawFn) -> AccountFacts:
    """Spot and margin accounts, some without any balance."""
    equity = draw(amounts("-1000", "20000") | amounts("-10", "1e9"))
    held = tuple(draw(st.lists(positions(), max_size=6)))
    if draw(st.booleans()):
        free = draw(amounts("-100", "20000"))
        return a_spot_account(equity, free_cash=free, positions=held)
    used, most = draw(amounts("0", "20000")), draw(amounts("0.5", "20", 1))
    return a_margin_account(equity, used, most, positions=held)


@st.composite
def questions(draw: st.DrawFn) -> Any:
    """Complete inputs of the gate."""
    account = draw(accounts())
    odds = RequestedOdds(
        win_rate=draw(RATES),
        **draw(
            st.just({}) | st.fixed_dictionaries({name: amounts("0", "10") for name in ("average_win", "average_loss")})
        ),
    )
    request = a_request(
        instrument=instrument_of(draw(ASSETS), minimum_cost=draw(amounts("0", "20")), lot=draw(st.sampled_from(LOTS))),
        side=draw(st.sampled_from((*[Side.BUY] * 7, Side.SELL))),
        signal_score=draw(amounts("0", "100")),
        expected_return_pct=draw(amounts("-5", "20")),
        regime=draw(REGIMES),
        odds=odds,
        largest_size=draw(st.none() | amounts("0", "1000")),
        has_made_room=draw(st.booleans()),
    )
    return gate_inputs(
        account=account,
        request=request,
        market=draw(st.none() | st.builds(a_market, book=books() | st.none(), atr_pct=st.none() | amounts("0", "50"))),
        drawdown=first_record(account.equity).model_copy(update={"state": draw(STATES)}),
        correlation=draw(st.none() | amounts("-1", "1")),
    )


@st.composite
def good_signals(draw: st.DrawFn) -> Any:
    """Questions that the gate mostly approves: healthy accounts, good signals, books of every depth."""
    equity = draw(amounts("500", "20000") | amounts("500", "1e7"))
    held = tuple(
        a_position(draw(ASSETS), quantity=draw(amounts("0.01", "1")), score=draw(amounts("0", "70")))
        for _ in range(draw(st.integers(0, 3)))
    )
    account = draw(
        st.builds(lambda free: a_spot_account(equity, free_cash=equity * free, positions=held), amounts("0.3", "1"))
        | st.builds(
            lambda used, most: a_margin_account(equity, equity * used, most, positions=held),
            amounts("0", "0.49"),
            amounts("1", "20", 1),
        )
    )
    quantities = amounts("0.01", "1000", 6)
    depth, tick = draw(st.integers(1, 30)), draw(st.sampled_from(["0.01", "0.1", "1"]))
    asks = tuple(BookLevel(100 + index * Decimal(tick), draw(quantities)) for index in range(depth))
    request = a_request(
        instrument=instrument_of(draw(st.sampled_from(["BTC", "ETH"])), minimum_cost="0.1", price_tick="0.01"),
        signal_score=draw(amounts("81", "100")),
        regime=draw(REGIMES),
        odds=RequestedOdds(win_rate=draw(amounts("0.4", "1", 4))),
        largest_size=draw(st.none() | amounts("5", "1000")),
        has_made_room=draw(st.booleans()),
    )
    return gate_inputs(
        account=account,
        request=request,
        market=a_market(book=a_book(asks=asks), atr_pct=draw(amounts("0", "10"))),
        drawdown=first_record(equity).model_copy(update={"state": draw(STATES)}),
    )
