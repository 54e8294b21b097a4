"""Tests the entries that the gate approves: size, adjustments, plan, and the type of an approval."""

import ast
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from shared.domain.capital.drawdown import DrawdownState
from shared.domain.capital.execution import ExecutionMethod, IcebergPlan, LimitPlan, TwapPlan
from shared.domain.capital.facts import RequestedOdds
from shared.domain.capital.gate import recommend
from shared.domain.capital.opportunity import OpportunityAction
from shared.domain.capital.recommendation import (
    AdjustmentName,
    Approved,
    Entry,
    ReasonCode,
    Verdict,
)
from shared.domain.capital.regime import MarketRegime
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
    levels,
    market_of_depth,
    reason_codes,
    trades,
)
from tests.support.examples import NOW

D = Decimal
TOP = Path(__file__).parents[5]
SPREAD_OUT = a_book(asks=levels(("100", "0.02"), ("100.1", "0.1"), ("103", "10")))


@pytest.mark.parametrize(
    ("account", "size", "leverage", "margin"),
    [
        (a_margin_account("500", "0", "20"), "15", 10, "1.50"),
        (a_margin_account("2500", "0", "20"), "50", 8, "6.25"),
        (a_margin_account("10000", "0", "20"), "150", 5, "30"),
        (a_margin_account("10000", "0", "2"), "150", 2, "75"),
        (a_spot_account("500"), "15", 1, "15"),
    ],
)
def test_the_risk_of_the_class_is_the_size_and_the_leverage_the_margin(
    account: Any, size: str, leverage: int, margin: str
) -> None:
    """In a deep and calm market."""
    answer = recommend(gate_inputs(account=account), NOW)
    assert answer.recommendation is Verdict.ENTER
    assert answer.position_size_usd == D(size)
    assert answer.effective_leverage == leverage
    assert answer.margin_required == D(margin)
    assert answer.decided_by is AdjustmentName.CLASS_RISK
    assert answer.risk_pct == D(size) / account.equity * 100


@pytest.mark.parametrize(
    ("equity", "depth", "size", "leverage", "margin"),
    [("500", 60, "15", 8, "1.87"), ("2500", 64, "50", 7, "7.14"), ("10000", 43, "150", 4, "37.50")],
)
def test_the_three_examples_come_out_of_the_whole_gate(
    equity: str, depth: int, size: str, leverage: int, margin: str
) -> None:
    """500, 2,500 and 10,000 US dollars on margin, BTC, an ATR of 2 %, and books of depth 60, 64 and 43."""
    inputs = gate_inputs(account=a_margin_account(equity, "0", "20"), market=market_of_depth(depth))
    answer = recommend(inputs, NOW)
    assert answer.recommendation is Verdict.ENTER
    assert (answer.position_size_usd, answer.margin_required) == (D(size), D(margin))
    assert answer.optimal_leverage == answer.effective_leverage == leverage


def test_an_approval_holds_the_order_and_its_plan() -> None:
    """The quantity costs no more than the size at the limit price."""
    answer = recommend(gate_inputs(), NOW)
    assert answer.approved is not None
    entry = answer.approved.value
    assert isinstance(entry.plan, LimitPlan)
    assert entry.size == answer.position_size_usd == 100
    assert entry.quantity == answer.quantity == entry.plan.quantity
    assert entry.quantity == instrument_of().rounded(D(100) / D("100.0"))
    assert answer.execution_method is ExecutionMethod.LIMIT
    assert answer.action is OpportunityAction.ENTER_NEW


def test_every_adjustment_is_listed_with_its_factor_in_order() -> None:
    """Their product is the share of equity, and each size is the one before it times the factor."""
    inputs = gate_inputs(
        account=a_spot_account("500", positions=(a_position(quantity="0.3"),)),
        request=a_request(regime=MarketRegime.RANGING, odds=RequestedOdds(win_rate="0.54"), largest_size="12"),
        drawdown=drawn_down(DrawdownState.LIGHT, "500"),
    )
    answer = recommend(inputs, NOW)
    assert [(each.name.value, each.size) for each in answer.adjustments] == [
        ("half_kelly", D("58.33")),
        ("capital", D("40.83")),
        ("regime", D("28.58")),
        ("kelly_band", D(25)),
        ("class_risk", D(15)),
        ("wanted_size", D(12)),
        ("heat", D("9.60")),
        ("drawdown", D("6.72")),
        ("bucket", D("6.72")),
        ("reserve", D("6.72")),
        ("impact", D("6.72")),
        ("impact_cut", D("6.72")),
    ]
    assert [each.name for each in answer.adjustments] == list(AdjustmentName)
    factors = {each.name: each.factor for each in answer.adjustments}
    assert factors[AdjustmentName.CAPITAL] == D("0.7")
    assert factors[AdjustmentName.REGIME] == D("0.7")
    assert factors[AdjustmentName.CLASS_RISK] == D("0.6")
    assert factors[AdjustmentName.WANTED_SIZE] == D("0.8")
    assert factors[AdjustmentName.HEAT] == D("0.8")
    assert factors[AdjustmentName.DRAWDOWN] == D("0.7")
    assert factors[AdjustmentName.BUCKET] == factors[AdjustmentName.IMPACT_CUT] == 1
    assert answer.decided_by is AdjustmentName.DRAWDOWN
    assert answer.position_size_usd == D("6.72")


def test_the_bucket_and_the_reserve_cap_the_size() -> None:
    """CORE has room for 20 US dollars of 5,000; then only 60 are above the reserve of 250."""
    core = a_spot_account(positions=(a_position(quantity="24.8", opened_by_nija=False),))
    answer = recommend(gate_inputs(account=core), NOW)
    assert (answer.position_size_usd, answer.decided_by) == (20, AdjustmentName.BUCKET)
    request = a_request(has_made_room=True)
    reserve = recommend(gate_inputs(account=a_spot_account(free_cash="310"), request=request), NOW)
    assert (reserve.adjustments[8].name, reserve.adjustments[8].size) == (AdjustmentName.RESERVE, 60)
    assert reason_codes(gate_inputs(account=a_spot_account(free_cash="250"))) == (ReasonCode.RESERVE,)


def test_a_large_impact_is_a_caution_at_a_reduced_size() -> None:
    """The book is thin, so most of the size is cut, and the rest is approved."""
    answer = recommend(gate_inputs(market=a_market(book=SPREAD_OUT)), NOW)
    assert answer.recommendation is Verdict.CAUTION
    assert answer.reason_codes == (ReasonCode.HIGH_IMPACT,)
    assert answer.approved is not None
    assert answer.position_size_usd < 30
    assert {each.name: each.factor for each in answer.adjustments}[AdjustmentName.IMPACT] == D("0.3")
    assert answer.decided_by is AdjustmentName.IMPACT_CUT


@pytest.mark.parametrize(
    ("equity", "plan"), [("500", IcebergPlan), ("2500", IcebergPlan), ("5000", TwapPlan), ("50000", TwapPlan)]
)
def test_an_order_that_is_large_for_the_book_is_sliced_by_class(equity: str, plan: type) -> None:
    """The whole book holds a little more than the order."""
    quantity = str(D(equity) * D("0.0006"))
    answer = recommend(
        gate_inputs(account=a_spot_account(equity), market=a_market(book=a_book(quantity=quantity))), NOW
    )
    assert answer.approved is not None
    assert isinstance(answer.approved.value.plan, plan)


def test_own_trades_decide_over_the_request() -> None:
    """30 losses leave no edge, whatever the request hopes for."""
    inputs = gate_inputs(trades=trades(0, 30), request=a_request(odds=RequestedOdds(win_rate="0.9")))
    answer = recommend(inputs, NOW)
    assert answer.reason_codes == (ReasonCode.NO_EDGE,)
    assert answer.position_size_usd == answer.quantity == answer.margin_required == answer.risk_pct == 0


def test_a_record_without_an_edge_stops_entries_until_its_trades_are_30_days_old() -> None:
    """The sentence has the date. After that the request counts, as before the first trade. 31 trades, one a minute."""
    inputs = gate_inputs(trades=trades(0, 31))
    answer = recommend(inputs, NOW)
    assert answer.reason_codes == (ReasonCode.NO_EDGE,)
    until = NOW - timedelta(minutes=29) + timedelta(days=30)
    assert answer.reason == (
        "The newest 31 trades of the last 30 days give no edge, so the size is 0; "
        f"they count until {until:%Y-%m-%d %H:%M} UTC."
    )
    for moment, codes in ((until, (ReasonCode.NO_EDGE,)), (until + timedelta(seconds=1), ())):
        market = a_market(book=a_book(at=moment))
        account = a_spot_account(read_at=moment)
        later = recommend(gate_inputs(trades=inputs.trades, market=market, account=account), moment)
        assert later.reason_codes == codes


def test_drawdown_lowers_size_and_leverage_together() -> None:
    """Heavy, with a breaker that has ended: a quarter of 150 US dollars, at most 3x."""
    answer = recommend(
        gate_inputs(account=a_margin_account("10000", "0", "20"), drawdown=drawn_down(DrawdownState.HEAVY)), NOW
    )
    assert answer.position_size_usd == D("37.50")
    assert (answer.optimal_leverage, answer.effective_leverage) == (5, 3)


def test_an_approval_cannot_be_made_elsewhere() -> None:
    """Without the seal the constructor refuses, and no module but the gate asks for an approval."""
    entry = recommend(gate_inputs(), NOW).approved
    assert entry is not None
    with pytest.raises(TypeError, match="only the capital gate approves"):
        Approved[Entry](entry.value, object())
    with pytest.raises(AttributeError):
        entry.value = entry.value  # type: ignore[misc]
    sources = [path for root in ("shared", "services") for path in (TOP / root).rglob("*.py")]
    importers = {
        str(path.relative_to(TOP))
        for path in sources
        if "capital.recommendation" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom) and {"approve", "_SEAL"} & {each.name for each in node.names}
    }
    assert importers == {"shared/domain/capital/gate.py"}


def test_a_recommendation_is_written_without_its_approval() -> None:
    """An approval that came back from JSON would be one that no gate has given."""
    written = recommend(gate_inputs(), NOW).model_dump()
    assert "approved" not in written
    assert written["recommendation"] == "ENTER"
