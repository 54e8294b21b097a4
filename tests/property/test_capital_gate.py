"""Tests the laws of the gate that hold for every account, market and signal."""

import math
from decimal import ROUND_FLOOR, Decimal, getcontext, localcontext
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.buckets import allocation, room_for_entry
from shared.domain.capital.drawdown import DrawdownState, first_record, next_record
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.gate import recommend
from shared.domain.capital.kelly import MOST_PCT, kelly_size, odds_of
from shared.domain.capital.leverage import optimal_leverage
from shared.domain.capital.liquidity import liquidity_check
from shared.domain.capital.opportunity import opportunity
from shared.domain.capital.recommendation import Verdict
from shared.domain.capital.regime import MarketRegime
from shared.domain.capital.risk_parity import risk_parity
from shared.domain.capital.scaling import margin_for, risk_amount, rules_for
from shared.domain.capital.state import capital_state
from shared.domain.market_data import BookLevel
from tests.support.capital import (
    a_book,
    a_margin_account,
    a_market,
    a_request,
    a_spot_account,
    gate_inputs,
)
from tests.support.capital_strategies import (
    EQUITIES,
    RATES,
    REGIMES,
    STATES,
    amounts,
    good_signals,
    questions,
)
from tests.support.examples import NOW

TINY = Decimal("1e-12")
ANY_NUMBER = st.decimals()
"""Also NaN, infinities, and numbers with thousands of digits before or after the point."""


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
