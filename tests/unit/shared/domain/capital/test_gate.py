"""Tests the checks of the gate: their order, and every rejection at both sides of its bound."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from shared.domain.capital.drawdown import DrawdownRecord, DrawdownState, first_record
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.gate import STEPS, recommend
from shared.domain.capital.opportunity import OpportunityAction
from shared.domain.capital.recommendation import (
    ReasonCode,
    Verdict,
)
from shared.domain.fees import SmallAccountRule, fees
from shared.domain.fill import Side
from shared.domain.stop import StopMode
from tests.support.capital import (
    a_book,
    a_margin_account,
    a_market,
    a_position,
    a_request,
    a_spot_account,
    drawn_down,
    gate_inputs,
    instrument_of,
    own_positions,
    reason_codes,
)
from tests.support.examples import NOW

D = Decimal
BREAKER = DrawdownRecord(peak="5000", equity="5000", drawdown_pct=D(0), breaker_until=NOW + timedelta(seconds=1))


def test_the_steps_run_in_the_order_of_the_rules() -> None:
    """Stop and breaker, account, margin, positions, leverage, size, bucket, liquidity, opportunity, fees, minimum."""
    assert [step.__name__ for step in STEPS] == [
        "check_stop",
        "check_account",
        "check_margin",
        "check_positions",
        "set_leverage",
        "set_size",
        "cap_to_buckets",
        "cap_to_liquidity",
        "compare_opportunity",
        "check_fees",
        "check_minimum",
    ]


def test_each_obstacle_is_reported_before_all_later_ones() -> None:
    """Everything is wrong at first. Each repair brings up the next reason, in the order of the rules."""
    full = (a_position("BTC", quantity="25", price="100", score="40"),)
    wrong: dict[str, Any] = {
        "request": a_request(
            instrument=instrument_of("PEPE", minimum_cost="1000"),
            signal_score="45",
            expected_return_pct="0.1",
            odds=RequestedOdds(win_rate="0.1"),
        ),
        "account": a_margin_account("5000", "4600", positions=full, read_at=NOW - timedelta(hours=2)),
        "market": None,
        "drawdown": BREAKER,
        "stop": StopMode.HALT,
    }
    odds = RequestedOdds()
    repairs: list[tuple[ReasonCode, dict[str, Any]]] = [
        (ReasonCode.STOPPED, {"stop": None}),
        (ReasonCode.DRAWDOWN_BREAKER, {"drawdown": first_record(D(5000))}),
        (ReasonCode.ACCOUNT_DATA_OLD, {"account": a_margin_account("5000", "4600", positions=full)}),
        (ReasonCode.MARGIN_ZONE, {"account": a_margin_account("5000", "0", positions=full)}),
        (
            ReasonCode.ASSET_NOT_ALLOWED,
            {"request": wrong["request"].model_copy(update={"instrument": instrument_of()})},
        ),
        (ReasonCode.MARKET_DATA_MISSING, {"market": a_market(book=a_book(quantity="1e-9"))}),
        (ReasonCode.NO_EDGE, {"request": a_request(signal_score="45", expected_return_pct="0.1", odds=odds)}),
        (ReasonCode.BUCKET_FULL, {"account": a_margin_account("5000", "0", positions=own_positions(1, "40"))}),
        (ReasonCode.HOLD, {"request": a_request(signal_score="85", expected_return_pct="0.1")}),
        (ReasonCode.RETURN_BELOW_COST, {"request": a_request(signal_score="85")}),
        (ReasonCode.BELOW_MINIMUM, {"market": a_market()}),
    ]
    inputs = gate_inputs(**wrong)
    for code, repair in repairs:
        answer = recommend(inputs, NOW)
        assert answer.reason_codes == (code,), answer.reason
        assert answer.recommendation is Verdict.REJECT
        assert answer.approved is None
        inputs = inputs.model_copy(update=repair)
    assert recommend(inputs, NOW).recommendation is Verdict.ENTER


@pytest.mark.parametrize("mode", list(StopMode))
def test_every_stop_rejects(mode: StopMode) -> None:
    """Also close-only, because an entry is no exit."""
    assert reason_codes(gate_inputs(stop=mode)) == (ReasonCode.STOPPED,)


def test_the_breaker_rejects_until_its_end() -> None:
    """The second after it, entries are possible again."""
    inputs = gate_inputs(drawdown=BREAKER)
    assert reason_codes(inputs) == (ReasonCode.DRAWDOWN_BREAKER,)
    assert recommend(inputs, NOW + timedelta(seconds=1)).recommendation is Verdict.ENTER


@pytest.mark.parametrize("equity", ["0", "-0.01", "-5000"])
def test_an_account_without_balance_is_a_rejection_and_no_exception(equity: str) -> None:
    """On spot and on margin."""
    for account in (a_spot_account(equity), a_margin_account(equity), a_margin_account(equity, "10")):
        assert reason_codes(gate_inputs(account=account)) == (ReasonCode.NO_BALANCE,)


def test_a_margin_account_without_a_wallet_has_no_balance() -> None:
    """Also when its positions still have a value."""
    assert reason_codes(gate_inputs(account=a_margin_account("0").model_copy(update={"equity": D(5)}))) == (
        ReasonCode.NO_BALANCE,
    )


@pytest.mark.parametrize("wanted", ["0", "0.009"])
def test_a_wanted_size_of_less_than_a_cent_is_a_rejection_and_no_exception(wanted: str) -> None:
    """The strategy may ask for nothing."""
    assert reason_codes(gate_inputs(request=a_request(largest_size=wanted))) == (ReasonCode.BELOW_MINIMUM,)


@pytest.mark.parametrize(
    ("market", "words"),
    [
        (None, "no market data"),
        (a_market(atr_pct=None), "no ATR"),
        (a_market(book=None), "no order book"),
        (a_market(book=a_book(bids=())), "empty side"),
        (a_market(book=a_book(asks=())), "empty side"),
        (a_market(book=a_book(at=NOW - timedelta(seconds=61))), "61 s old"),
    ],
)
def test_missing_market_data_are_a_rejection_and_no_exception(market: Any, words: str) -> None:
    """The sentence says what is missing."""
    answer = recommend(gate_inputs(market=market), NOW)
    assert answer.reason_codes == (ReasonCode.MARKET_DATA_MISSING,)
    assert words in answer.reason


def test_an_order_book_and_a_reading_are_good_up_to_their_ages() -> None:
    """60 seconds and an hour."""
    book = a_book(at=NOW - timedelta(seconds=60))
    account = a_spot_account(read_at=NOW - timedelta(hours=1))
    assert recommend(gate_inputs(market=a_market(book=book), account=account), NOW).recommendation is Verdict.ENTER


@pytest.mark.parametrize(("used", "enters"), [("2499.99", True), ("2500", False), ("3750", False), ("4500", False)])
def test_only_the_green_zone_allows_entries(used: str, enters: bool) -> None:
    """50 % of 5,000."""
    answer = recommend(gate_inputs(account=a_margin_account("5000", used)), NOW)
    assert (answer.recommendation is Verdict.ENTER) is enters
    if not enters:
        assert answer.reason_codes == (ReasonCode.MARGIN_ZONE,)


def test_no_account_goes_short() -> None:
    """A spot account cannot. On a margin account nija does not, so an approval would never be executed."""
    request = a_request(side=Side.SELL)
    assert reason_codes(gate_inputs(request=request)) == (ReasonCode.NO_MARGIN_ACCOUNT,)
    answer = recommend(gate_inputs(request=request, account=a_margin_account()), NOW)
    assert answer.reason_codes == (ReasonCode.SHORT_NOT_EXECUTED,)
    assert answer.reason == "This entry is a short position, and nija opens none."
    assert answer.approved is None


def test_at_the_limit_of_positions_only_a_much_better_signal_goes_on() -> None:
    """A small account has 5. A person's own coins do not count."""
    account = a_spot_account("500", positions=own_positions(5, "84"))
    assert reason_codes(gate_inputs(account=account)) == (ReasonCode.POSITION_LIMIT,)
    foreign = tuple(a_position("ETH", quantity="0.01", opened_by_nija=False) for _ in range(9))
    below = a_spot_account("500", positions=(*own_positions(4, "84"), *foreign))
    assert recommend(gate_inputs(account=below), NOW).recommendation is Verdict.ENTER


@pytest.mark.parametrize(
    ("state", "limit"),
    [(DrawdownState.NORMAL, 5), (DrawdownState.LIGHT, 3), (DrawdownState.MODERATE, 2), (DrawdownState.HEAVY, 1)],
)
def test_drawdown_lowers_the_limit_of_positions(state: DrawdownState, limit: int) -> None:
    """Both sides of each limit."""
    drawdown = drawn_down(state, "500")
    below = gate_inputs(account=a_spot_account("500", positions=own_positions(limit - 1, "84")), drawdown=drawdown)
    reached = gate_inputs(account=a_spot_account("500", positions=own_positions(limit, "84")), drawdown=drawdown)
    assert recommend(below, NOW).recommendation is Verdict.ENTER
    assert reason_codes(reached) == (ReasonCode.POSITION_LIMIT,)


def test_the_worst_position_is_closed_first_and_nothing_is_approved_until_then() -> None:
    """The second question says that room was made. It closes no further position."""
    account = a_spot_account("500", positions=own_positions(5, "60"))
    answer = recommend(gate_inputs(account=account), NOW)
    assert answer.recommendation is Verdict.ENTER
    assert answer.action is OpportunityAction.ENTER_AND_CLOSE_WORST
    assert answer.reason_codes == (ReasonCode.CLOSE_WORST_FIRST,)
    assert answer.close_first == "BTC/USD"
    assert answer.approved is None
    after = a_spot_account("500", positions=own_positions(4, "60"))
    again = recommend(gate_inputs(account=after, request=a_request(has_made_room=True)), NOW)
    assert again.action is OpportunityAction.ENTER_NEW
    assert again.close_first is None
    assert again.approved is not None
    still_full = gate_inputs(account=account, request=a_request(has_made_room=True))
    assert reason_codes(still_full) == (ReasonCode.POSITION_LIMIT,)


def test_no_position_is_closed_for_an_entry_that_would_fail_later() -> None:
    """The fees and the minimum are checked before the answer to close the worst."""
    account = a_spot_account("500", positions=own_positions(5, "60"))
    assert reason_codes(gate_inputs(account=account, request=a_request(expected_return_pct="0.5"))) == (
        ReasonCode.RETURN_BELOW_COST,
    )
    request = a_request(instrument=instrument_of(minimum_cost="100"))
    assert reason_codes(gate_inputs(account=account, request=request)) == (ReasonCode.BELOW_MINIMUM,)


def test_hold_and_skip_are_rejections_with_their_action() -> None:
    """Score 80 next to a worst of 75 holds; without free cash it is skipped."""
    holding = recommend(gate_inputs(account=a_spot_account(positions=own_positions(1, "80"))), NOW)
    assert holding.recommendation is Verdict.ENTER
    held = gate_inputs(account=a_spot_account(positions=own_positions(1, "75")), request=a_request(signal_score="80"))
    assert (reason_codes(held), recommend(held, NOW).action) == ((ReasonCode.HOLD,), OpportunityAction.HOLD)
    poor = gate_inputs(account=a_spot_account(free_cash="999"))
    assert (reason_codes(poor), recommend(poor, NOW).action) == ((ReasonCode.SKIP,), OpportunityAction.SKIP)


def test_a_high_correlation_counts_against_the_signal() -> None:
    """85 becomes 75, which is not better than 70 by more than 10."""
    inputs = gate_inputs(account=a_spot_account(positions=own_positions(1, "70")))
    assert recommend(inputs, NOW).action is OpportunityAction.ENTER_AND_CLOSE_WORST
    assert reason_codes(inputs.model_copy(update={"correlation": D("0.9")})) == (ReasonCode.HOLD,)


@pytest.mark.parametrize(("expected", "enters"), [("0.82", False), ("0.83", True), ("-5", False)])
def test_the_expected_return_must_beat_the_smallest_worthwhile_profit(expected: str, enters: bool) -> None:
    """Kraken's is 0.82 %: twice 0.26, a spread of 0.1 and 0.2 on top. Exactly that is not enough."""
    answer = recommend(gate_inputs(request=a_request(expected_return_pct=expected)), NOW)
    assert (answer.recommendation is Verdict.ENTER) is enters
    assert answer.reason_codes == (() if enters else (ReasonCode.RETURN_BELOW_COST,))


@pytest.mark.parametrize(
    ("equity", "expected", "enters"),
    [("49.99", "2", False), ("49.99", "2.01", True), ("50", "1.6", False), ("50", "1.61", True)],
)
def test_a_small_account_at_an_expensive_broker_needs_more(equity: str, expected: str, enters: bool) -> None:
    """Coinbase: 1.6 % for every account, 2.0 % below 50 US dollars."""
    inputs = gate_inputs(
        account=a_spot_account(equity),
        fees=fees("0.006", "0.006", "0.002"),
        small_account=SmallAccountRule(below_equity="50", least_return_pct="2"),
        request=a_request(expected_return_pct=expected),
    )
    assert (recommend(inputs, NOW).recommendation is Verdict.ENTER) is enters


def test_equity_of_ten_dollars_is_below_every_minimum_and_says_so() -> None:
    """3 % of 10 are 30 cents."""
    answer = recommend(gate_inputs(account=a_spot_account("10")), NOW)
    assert answer.reason_codes == (ReasonCode.BELOW_MINIMUM,)
    assert answer.reason == "The size of 0.30 USD is below the broker's minimum."


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("signal_score", "100.01"),
        ("signal_score", "-1"),
        ("signal_score", "NaN"),
        ("expected_return_pct", "Infinity"),
        ("largest_size", "-1"),
        ("regime", "SIDEWAYS"),
    ],
)
def test_a_request_refuses_values_out_of_their_range(field: str, bad: str) -> None:
    """The API answers 422."""
    with pytest.raises(ValidationError, match=field):
        a_request(**{field: bad})
