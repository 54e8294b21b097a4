"""Tests the laws of the single capital rules: allocation, leverage, drawdown, liquidity and plans."""

from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

from hypothesis import assume, given
from hypothesis import strategies as st

from shared.domain.amounts import ZERO
from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.buckets import TARGETS, allocation
from shared.domain.capital.drawdown import DrawdownRecord, DrawdownState, first_record, next_record
from shared.domain.capital.execution import iceberg_plan, twap_plan
from shared.domain.capital.facts import AccountFacts, HeldPosition, RequestedOdds
from shared.domain.capital.kelly import heat_factor, heat_of, kelly_size, odds_of
from shared.domain.capital.leverage import optimal_leverage
from shared.domain.capital.liquidity import TOLERATED_PCT, impact_pct, largest_within, liquidity_check
from shared.domain.capital.margin import MarginActionState, plan_margin_action
from shared.domain.capital.opportunity import opportunity
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.risk_parity import risk_parity
from shared.domain.capital.scaling import risk_amount, rules_for
from shared.domain.capital.state import capital_state
from shared.domain.fill import Side
from shared.domain.market_data import OrderBook
from tests.support.capital import (
    a_book,
    a_market,
    a_position,
    a_spot_account,
    instrument_of,
)
from tests.support.capital_strategies import (
    ASSETS,
    EQUITIES,
    LOTS,
    RATES,
    REGIMES,
    accounts,
    amounts,
    books,
    positions,
)
from tests.support.examples import NOW

TINY = Decimal("1e-12")


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
