"""Tests the laws of the capital rules that hold for every account, market and signal."""

import math
from datetime import timedelta
from decimal import ROUND_FLOOR, Decimal, getcontext, localcontext
from fractions import Fraction
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.buckets import TARGETS, allocation, room_for_entry
from shared.domain.capital.drawdown import DrawdownRecord, DrawdownState, first_record, next_record
from shared.domain.capital.execution import iceberg_plan, twap_plan
from shared.domain.capital.facts import AccountFacts, HeldPosition, RequestedOdds
from shared.domain.capital.gate import recommend
from shared.domain.capital.kelly import MOST_PCT, heat_factor, heat_of, kelly_size, odds_of
from shared.domain.capital.leverage import optimal_leverage
from shared.domain.capital.liquidity import TOLERATED_PCT, impact_pct, largest_within, liquidity_check
from shared.domain.capital.margin import MarginActionState, plan_margin_action
from shared.domain.capital.opportunity import opportunity
from shared.domain.capital.recommendation import Verdict
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.risk_parity import risk_parity
from shared.domain.capital.scaling import margin_for, risk_amount, rules_for
from shared.domain.capital.state import capital_state
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

TINY = Decimal("1e-12")


def amounts(smallest: str, largest: str, places: int = 2) -> st.SearchStrategy[Decimal]:
    """Amounts in that range with `places` decimal places."""
    return st.decimals(Decimal(smallest), Decimal(largest), allow_nan=False, places=places)


EQUITIES = st.one_of(amounts("0", "20000"), amounts("990", "1010"), amounts("4990", "5010"), amounts("0", "1e9"))
REGIMES = st.none() | st.sampled_from(MarketRegime)
RATES = st.none() | amounts("0", "1", 4)
STATES = st.sampled_from(DrawdownState)
ASSETS = st.sampled_from(["BTC", "ETH", "BNB", "SOL", "XRP"])
ANY_NUMBER = st.decimals()
"""Also NaN, infinities, and numbers with thousands of digits before or after the point."""


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
        side=draw(st.sampled_from(Side)),
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


LOTS = ["0.00000001", "0.0001", "0.001", "1"]


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


@given(st.dictionaries(st.text(max_size=4), amounts("0.0001", "1000", 4), min_size=1, max_size=40))
def test_shares_of_risk_parity_add_up_to_exactly_100(volatilities: dict[str, Decimal]) -> None:
    """Each is within a tenth of a percent of its exact value, and less volatile symbols never get less."""
    shares = risk_parity(volatilities)
    assert sum(shares.values()) == 100
    whole = sum(1 / Fraction(value) for value in volatilities.values())
    for name, share in shares.items():
        exact = 100 / Fraction(volatilities[name]) / whole
        assert abs(Fraction(share) - exact) <= Fraction(1, 10)
        assert all(
            share <= shares[other] + Decimal("0.1") for other in shares if volatilities[other] <= volatilities[name]
        )


def test_targets_of_the_buckets_add_up_to_exactly_100() -> None:
    """CORE, GROWTH, OPPORTUNITY and RESERVE."""
    assert sum(TARGETS.values()) == 100


@given(accounts())
def test_proposed_orders_never_exceed_what_is_held_or_missing(account: AccountFacts) -> None:
    """Sales are within the positions, purchases within the targets, all in cents."""
    found = allocation(account, None, NOW)
    for order in found.orders:
        status = next(each for each in found.buckets if each.bucket is order.bucket)
        assert order.value == cut_cents(order.value) > 0
        assert order.value <= abs(status.target_value - status.current_value)


@given(EQUITIES, ASSETS, books(), amounts("0", "50"), amounts("0.5", "50", 1), RATES, REGIMES)
def test_leverage_stays_in_every_range(
    equity: Decimal,
    asset: str,
    book: OrderBook,
    atr: Decimal,
    most: Decimal,
    win_rate: Decimal | None,
    regime: MarketRegime | None,
) -> None:
    """The class, the symbol and the account bound it; without data it is 3."""
    found = optimal_leverage(
        asset, equity, a_market(book=book, atr_pct=atr), most_of_account=most, win_rate=win_rate, regime=regime
    )
    band = rules_for(equity).leverage
    if found.factors is None:
        assert found.optimal == 3
        assert found.confidence <= 30
    else:
        assert max(3 if band.lowest > 3 else 2, band.lowest) <= found.optimal <= min(20, found.highest)
        assert found.optimal == found.optimal.to_integral_value()
    assert found.effective == min(found.optimal, most)
    assert 0 <= found.confidence <= 100


@given(EQUITIES, EQUITIES, RATES, REGIMES, amounts("0", "5000"))
def test_more_equity_never_gives_a_smaller_amount(
    one: Decimal, other: Decimal, win_rate: Decimal | None, regime: MarketRegime | None, exposure: Decimal
) -> None:
    """Also across the bounds of the classes, with the same exposure, which then makes less heat."""
    odds = odds_of((), RequestedOdds(win_rate=win_rate))
    held = (a_position(quantity=exposure, price="1"),)
    less, more = (a_spot_account(each, positions=held) for each in sorted((one, other)))
    assert risk_amount(less.equity) <= risk_amount(more.equity)
    sizes = [kelly_size(each.equity, odds, regime).size * heat_factor(heat_of(each)) for each in (less, more)]
    assert sizes[0] <= sizes[1]


@settings(max_examples=60)
@given(EQUITIES, EQUITIES, RATES, REGIMES, STATES)
def test_the_gate_never_gives_less_to_more_equity_in_a_deep_market(
    one: Decimal, other: Decimal, win_rate: Decimal | None, regime: MarketRegime | None, state: DrawdownState
) -> None:
    """The order book alone can turn a larger size into a smaller one, because its factors apply in steps."""
    sizes = []
    for equity in sorted((one, other)):
        drawdown = first_record(equity).model_copy(update={"state": state})
        request = a_request(regime=regime, odds=RequestedOdds(win_rate=win_rate))
        inputs = gate_inputs(
            account=a_spot_account(equity),
            request=request,
            drawdown=drawdown,
            market=a_market(book=a_book(quantity="1e14")),
        )
        sizes.append(recommend(inputs, NOW).position_size_usd)
    assert sizes[0] <= sizes[1]


@settings(max_examples=80)
@given(questions())
def test_the_gate_answers_every_question_and_never_fails(inputs: Any) -> None:
    """A rejection has exactly one reason, no size and no approval."""
    answer = recommend(inputs, NOW)
    if answer.recommendation is Verdict.REJECT:
        assert answer.approved is None
        assert answer.position_size_usd == answer.quantity == 0
        assert len(answer.reason_codes) == 1


@settings(max_examples=80)
@given(good_signals())
def test_an_entry_never_exceeds_a_limit(inputs: Any) -> None:
    """Size is within class, Kelly, wanted size, bucket and zone. The factors lead from equity to the size."""
    answer = recommend(inputs, NOW)
    assume(answer.recommendation is not Verdict.REJECT)
    account, equity, size = inputs.account, inputs.account.equity, answer.position_size_usd
    assert size == cut_cents(size) > 0
    assert size <= risk_amount(equity)
    assert size <= equity * MOST_PCT / 100
    assert inputs.request.largest_size is None or size <= inputs.request.largest_size
    assert size <= room_for_entry(account, inputs.request.instrument.base)
    assert account.margin_used_pct < 50
    assert answer.quantity * inputs.market.book.asks[0].price <= size
    assert answer.margin_required <= size
    most = 1 if account.margin is None else min(account.margin.most_leverage, rules_for(equity).leverage.highest)
    assert answer.effective_leverage is not None
    assert 1 <= answer.effective_leverage <= most
    product = equity
    for adjustment in answer.adjustments:
        product *= adjustment.factor
    assert abs(product - size) < Decimal("0.01") + TINY
    assert (answer.approved is None) is (answer.close_first is not None)
    if answer.approved is not None:
        assert answer.approved.value.plan.quantity == answer.quantity


@given(accounts())
def test_the_state_of_every_account_can_be_computed(account: AccountFacts) -> None:
    """Nothing is divided by zero, and percentages of free margin are 0 to 100 or what the cash makes of them."""
    state = capital_state(account)
    assert state.margin_free_pct >= 0
    assert state.buying_power >= 0
    plan = plan_margin_action(MarginActionState(), account, NOW)
    own = {each.instrument.symbol for each in account.own_positions}
    assert {cut.symbol for cut in plan.cuts} <= own


@given(st.lists(st.tuples(amounts("-100", "20000"), amounts("-5000", "5000") | st.just(ZERO)), min_size=1, max_size=20))
def test_drawdown_is_never_negative_and_the_peak_never_below_equity(readings: list[tuple[Decimal, Decimal]]) -> None:
    """Whatever is earned, lost, deposited and withdrawn; the breaker is open after each entry into heavy."""
    record = first_record(Decimal(1000))
    for index, (equity, transferred) in enumerate(readings):
        now = NOW + timedelta(minutes=index)
        before, record = record, next_record(record, equity, transferred, now)
        assert record.peak >= equity
        assert record.drawdown_pct >= 0
        if record.state is DrawdownState.HEAVY and before.state is not DrawdownState.HEAVY:
            assert record.breaker_until == now + timedelta(hours=24)
    assert DrawdownRecord.model_validate_json(record.model_dump_json()) == record


@given(amounts("0", "100"), st.lists(positions(), max_size=5), amounts("0", "100"))
def test_a_signal_that_is_better_never_gets_a_worse_action(
    score: Decimal, held: list[HeldPosition], free: Decimal
) -> None:
    """An action that enters stays one when the score rises."""
    entering = ("ENTER_NEW", "ENTER_AND_CLOSE_WORST")
    lower, best = opportunity(score, held, free), opportunity(Decimal(100), held, free)
    if lower.action in entering:
        assert best.action in entering


@given(books(), amounts("0.000001", "50000", 6))
def test_an_order_is_cut_to_the_largest_size_within_the_impact(book: OrderBook, quantity: Decimal) -> None:
    """A little more than the cut would exceed 0.2 %."""
    levels = tuple(level for level in book.asks if level.quantity > 0)
    assume(levels)
    check = liquidity_check(levels, quantity)
    assert 0 < check.quantity <= quantity
    assert check.final_impact_pct <= TOLERATED_PCT + TINY
    largest = largest_within(levels, TOLERATED_PCT)
    assert impact_pct(levels, largest * Decimal("1.0001")) > TOLERATED_PCT
    if check.cut_factor < 1:
        assert check.quantity == largest


@given(
    st.sampled_from(LOTS),
    st.integers(1, 10**9),
    amounts("0", "5"),
    amounts("0", "20"),
    amounts("0.01", "1000"),
    amounts("0.000001", "10000", 6),
    st.lists(amounts("0", "1", 3), max_size=12),
)
def test_plans_buy_exactly_their_quantity_in_lots_that_the_broker_accepts(
    lot: str, lots: int, least: Decimal, cost: Decimal, price: Decimal, near: Decimal, fills: list[Decimal]
) -> None:
    """Slices add up, roll on and meet the minimum; an iceberg shows no more than is left and leaves no small rest."""
    instrument = instrument_of(lot=lot, minimum_quantity=least, minimum_cost=cost, price_tick="0.01")
    quantity = Decimal(lot) * lots
    assume(instrument.is_orderable(quantity, price))
    book = a_book(str(price), str(price), str(near))
    twap = twap_plan(instrument, Side.BUY, quantity, book, NOW)
    assert sum(each.quantity for each in twap.slices) == quantity
    assert 1 <= len(twap.slices) <= 10
    assert all(instrument.is_orderable(each.quantity, price) for each in twap.slices)
    assert twap.due_quantity(ZERO, twap.ends_at) == quantity
    iceberg = iceberg_plan(instrument, Side.BUY, quantity, book, NOW)
    filled = ZERO
    for part in fills:
        shown = iceberg.visible_quantity(filled, price)
        left = quantity - filled - shown
        assert left >= 0
        assert left == 0 or instrument.is_orderable(left, price)
        filled += instrument.rounded(shown * part)


@given(ANY_NUMBER, ANY_NUMBER)
def test_any_number_is_computed_or_refused_as_a_value_error(one: Decimal, other: Decimal) -> None:
    """No division by zero, no overflow and no NaN, for numbers that a request could hold."""
    rules = (
        lambda: optimal_leverage("BTC", one, a_market(), win_rate=other).factors.product,  # type: ignore[union-attr]
        lambda: kelly_size(one, odds_of((), RequestedOdds(average_win=one, average_loss=other))).size,
        lambda: risk_parity({"A": one, "B": other})["A"],
        lambda: next_record(first_record(one), other, one, NOW).drawdown_pct,
        lambda: opportunity(one, (), other).score,
        lambda: liquidity_check((BookLevel(Decimal(1), Decimal(1)),), one).quantity,
        lambda: capital_state(a_margin_account(one, other)).margin_used_pct,
        lambda: allocation(a_spot_account(one, free_cash=other), None, NOW).buckets[0].off_pct,
        lambda: recommend(gate_inputs(account=a_spot_account(one)), NOW).position_size_usd,
        lambda: recommend(gate_inputs(request=a_request(expected_return_pct=one)), NOW).risk_pct,
    )
    for rule in rules:
        try:
            value = rule()
        except ValueError:
            continue
        assert value.is_finite()


@given(EQUITIES, amounts("1", "20", 1))
def test_a_result_never_depends_on_the_context_of_the_caller(equity: Decimal, leverage: Decimal) -> None:
    """A caller with three digits, rounding down, gets the same figures."""
    plain = [margin_for(equity, leverage), recommend(gate_inputs(account=a_spot_account(equity)), NOW)]
    with localcontext() as context:
        context.prec, context.rounding = 3, ROUND_FLOOR
        narrow = [margin_for(equity, leverage), recommend(gate_inputs(account=a_spot_account(equity)), NOW)]
        assert getcontext().prec == 3
    assert isinstance(plain[1], type(narrow[1]))
    assert plain[0] == narrow[0]
    assert plain[1].model_dump() == narrow[1].model_dump()
    assert math.isfinite(float(plain[0]))
