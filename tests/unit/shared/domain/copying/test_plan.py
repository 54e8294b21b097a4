"""Tests how the planner sizes opens, turns exits into fractions, and when it skips."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.amounts import ZERO
from shared.domain.copying.follower import FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import plan, scale_factor, scaled_quantity, unplannable
from shared.domain.copying.planned import (
    LookOnly,
    Plan,
    PlanColumns,
    PlannedExit,
    PlannedOpen,
    Skip,
    columns_of,
    order_of,
)
from shared.domain.copying.reasons import SkipReason
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from tests.support.examples import NOW, a_fill, a_follower, a_sale, an_account, an_instrument

DEFAULTS: dict[str, Any] = {
    "fill": a_fill(),
    "follower": a_follower(),
    "account": an_account("1000"),
    "instrument": an_instrument(),
    "carried": ZERO,
    "now": NOW,
    "snapshot_max_age": timedelta(minutes=5),
}


def planned(**changes: Any) -> Plan:
    """Plan the default case with these changes."""
    return plan(**{**DEFAULTS, **changes})


def columns(**changes: Any) -> PlanColumns:
    """The columns of that plan."""
    return columns_of(planned(**changes))


def test_an_open_is_proportional_to_equity() -> None:
    """With a hundredth of the master's equity, the follower buys a hundredth of the quantity."""
    assert planned() == PlannedOpen(Decimal("0.001"), ZERO)


@pytest.mark.parametrize("master_equity", ["100000", "4000"])
def test_the_shown_factor_is_the_one_that_sizes_an_open(master_equity: str) -> None:
    """The master's quantity multiplied with the factor is the follower's, also if the cost replaces the equity."""
    fill = a_fill(master_equity_before=master_equity)
    one = Decimal(1)
    factor = scale_factor(Decimal(1000), Decimal(master_equity), fill.quantity, fill.price, one)
    assert factor is not None
    assert fill.quantity * factor == scaled_quantity(fill, Decimal(1000), Decimal(master_equity), one)
    assert scale_factor(ZERO, one, fill.quantity, fill.price, one) is None


def test_the_sum_with_what_is_carried_is_rounded_down_once() -> None:
    """0.0004 is carried and 0.001 is due. One lot of 0.001 is ordered and 0.0004 is carried again."""
    coarse = an_instrument(lot="0.001")
    assert planned(instrument=coarse, carried=Decimal("0.0004")) == PlannedOpen(Decimal("0.001"), Decimal("0.0004"))
    assert planned(instrument=coarse, carried=Decimal("0.0016")) == PlannedOpen(Decimal("0.002"), Decimal("0.0006"))


@pytest.mark.parametrize(
    ("instrument", "minimum_notional"),
    [({"minimum_quantity": "0.0011"}, "1"), ({"minimum_cost": "50.01"}, "1"), ({}, "50.01"), ({"lot": "0.01"}, "1")],
)
def test_an_open_below_a_minimum_is_carried_whole(instrument: dict[str, str], minimum_notional: str) -> None:
    """The minimum is the broker's quantity, the broker's cost, the policy's cost or the lot."""
    result = planned(instrument=an_instrument(**instrument), follower=a_follower(minimum_notional=minimum_notional))
    assert result == Skip(SkipReason.BELOW_MINIMUM, Decimal("0.001"))


def test_an_open_is_ordered_when_nine_tenths_of_it_could_be_sold_again() -> None:
    """This includes an order at exactly the limit."""
    instrument = an_instrument(minimum_quantity="0.0009", minimum_cost="45")
    assert columns(instrument=instrument, follower=a_follower(minimum_notional="45")).quantity == Decimal("0.001")


def test_an_open_that_could_not_be_sold_again_is_carried() -> None:
    """After a fee in the coin, an order at exactly the minimum would leave less than the broker lets a client sell."""
    for changes in ({"minimum_quantity": "0.001"}, {"minimum_cost": "50"}):
        plan = columns(instrument=an_instrument(**changes))
        assert (plan.skip_reason, plan.carried_after) == (SkipReason.BELOW_MINIMUM, Decimal("0.001"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"follower": a_follower(status=FollowerStatus.DISABLED)}, SkipReason.DISABLED),
        ({"follower": a_follower(status=FollowerStatus.REMOVED)}, SkipReason.DISABLED),
        ({"follower": a_follower(status=FollowerStatus.PAUSED)}, SkipReason.PAUSED),
        ({"stop": StopMode.HALT}, SkipReason.STOPPED),
        ({"stop": StopMode.CLOSE_ONLY}, SkipReason.CLOSE_ONLY),
        ({"stop": StopMode.HALT, "follower": a_follower(status=FollowerStatus.PAUSED)}, SkipReason.STOPPED),
        ({"stop": StopMode.HALT, "follower": a_follower(status=FollowerStatus.DISABLED)}, SkipReason.DISABLED),
        ({"instrument": SkipReason.UNSUPPORTED_SYMBOL}, SkipReason.UNSUPPORTED_SYMBOL),
        ({"instrument": SkipReason.INSTRUMENT_UNREADABLE}, SkipReason.INSTRUMENT_UNREADABLE),
        ({"account": None}, SkipReason.ACCOUNT_UNKNOWN),
        ({"account": an_account(taken_at=NOW - timedelta(minutes=5, seconds=1))}, SkipReason.ACCOUNT_STALE),
        ({"account": an_account("0")}, SkipReason.NO_EQUITY),
        ({"account": an_account("-5")}, SkipReason.NO_EQUITY),
        ({"fill": a_fill(master_equity_before="0")}, SkipReason.NO_EQUITY),
        ({"fill": a_fill(master_equity_before=None)}, SkipReason.MASTER_EQUITY_UNKNOWN),
        ({"fill": a_sale("0")}, SkipReason.NO_POSITION),
        ({"fill": a_sale("1"), "follower": a_follower(status=FollowerStatus.DISABLED)}, SkipReason.DISABLED),
    ],
)
def test_a_skip_has_its_reason_and_keeps_what_is_owed(changes: dict[str, Any], reason: SkipReason) -> None:
    """A skipped fill does not change the carry of earlier opens."""
    assert planned(**changes, carried=Decimal("0.5")) == Skip(reason, Decimal("0.5"))


def test_a_snapshot_of_exactly_the_greatest_age_is_used() -> None:
    """Only an older reading is stale."""
    assert columns(account=an_account(taken_at=NOW - timedelta(minutes=5))).skip_reason is None


@pytest.mark.parametrize(
    "changes",
    [
        {"follower": a_follower(status=FollowerStatus.PAUSED)},
        {"stop": StopMode.HALT},
        {"stop": StopMode.CLOSE_ONLY},
        {"account": None},
        {"account": an_account(taken_at=NOW - timedelta(days=9))},
        {"account": an_account("0")},
        {"instrument": SkipReason.INSTRUMENT_UNREADABLE},
        {"fill": a_sale("0.25", master_equity_before="0")},
        {"fill": a_sale("0.25", master_equity_before=None, quote_price=None)},
    ],
)
def test_an_exit_needs_neither_equity_nor_an_account_nor_an_active_follower(changes: dict[str, Any]) -> None:
    """No limit, pause, stop or stale reading prevents a close. A halt lets it wait in the mailbox."""
    result = planned(**{"fill": a_sale("0.25"), **changes})
    assert result == PlannedExit(Decimal("0.25"), ZERO)


@pytest.mark.parametrize(("fraction", "left"), [("0.25", "0.0075"), ("1", "0")])
def test_an_exit_scales_what_opens_still_owe(fraction: str, left: str) -> None:
    """The carry is reduced by the same fraction as the position. After a full close, nothing is carried."""
    assert planned(fill=a_sale(fraction), carried=Decimal("0.01")).carried_after == Decimal(left)


def test_a_policy_that_cannot_be_read_opens_nothing_and_ends_what_was_opened() -> None:
    """The size of an open is unknown, so opens are skipped and the carry stays. Exits are executed as usual."""
    follower = a_follower().model_copy(update={"policy_error": "its policy cannot be read"})
    assert planned(follower=follower, carried=Decimal("0.5")) == Skip(SkipReason.POLICY_UNREADABLE, Decimal("0.5"))
    assert columns(fill=a_sale("0.25"), follower=follower).fraction == Decimal("0.25")


@pytest.mark.parametrize(
    ("fill", "instrument", "seconds_before", "is_looked_for"),
    [
        (a_fill(replayed=True), an_instrument(), 0, True),
        (a_sale("0.25", replayed=True), an_instrument(), 0, True),
        (a_fill(), an_instrument(), 0, False),
        (a_fill(replayed=True), an_instrument(), 6, False),
        (a_sale("0", replayed=True), an_instrument(), 0, False),
        (a_fill(replayed=True), SkipReason.UNSUPPORTED_SYMBOL, 0, False),
    ],
)
def test_who_was_disabled_after_a_replayed_fill_may_have_had_an_order_of_it(
    fill: MasterFill, instrument: Instrument | SkipReason, seconds_before: int, *, is_looked_for: bool
) -> None:
    """The planner asks for a look-up only. If no order can exist, or the follower was disabled earlier, it skips."""
    changed_at = fill.executed_at - timedelta(seconds=seconds_before)
    follower = a_follower(status=FollowerStatus.DISABLED, status_changed_at=changed_at)
    result = planned(fill=fill, follower=follower, instrument=instrument, carried=Decimal("0.5"))
    looked_for = LookOnly(Decimal("0.5"))
    assert result == (looked_for if is_looked_for else Skip(SkipReason.DISABLED, Decimal("0.5")))


@pytest.mark.parametrize("stop", list(StopMode))
def test_a_replayed_open_is_looked_up_although_trading_is_stopped(stop: StopMode) -> None:
    """Its order may have been sent before the stop. The planner asks for a look-up and for no send."""
    assert planned(fill=a_fill(replayed=True), stop=stop) == LookOnly(ZERO)


def test_the_minimum_of_a_policy_is_in_dollars_in_every_pair() -> None:
    """An open of 0.2 ETH costs 500 EUR, which is 625 dollars at 1.25 dollars per EUR."""
    fill = a_fill(symbol="ETH/EUR", price="2500", quantity="20", cost="50000", quote_price="1.25")
    eth = an_instrument(symbol="ETH/EUR", base="ETH", quote="EUR", minimum_cost="0.00001")
    for minimum, reason in (("625", None), ("625.01", SkipReason.BELOW_MINIMUM)):
        result = columns(fill=fill, instrument=eth, follower=a_follower(minimum_notional=minimum))
        assert result.skip_reason is reason


def test_a_fill_that_costs_more_than_the_equity_is_scaled_by_its_cost() -> None:
    """The master bought for 5,000 dollars. Its equity cannot be 500, so a follower with 1,000 buys for 1,000."""
    assert columns(fill=a_fill(master_equity_before="500")).quantity == Decimal("0.02")


def test_an_input_that_cannot_be_planned_ends_with_a_reason() -> None:
    """More digits than any quantity has. The carry stays as it was."""
    with pytest.raises(ArithmeticError):
        planned(account=an_account("1E+100"))
    assert unplannable(a_fill(), Decimal("0.5")) == Skip(SkipReason.CANNOT_BE_PLANNED, Decimal("0.5"))


def test_an_exit_that_cannot_be_planned_is_planned_without_the_carry() -> None:
    """The exit needs only its fraction. A sale of what the master did not trade stays a skip."""
    with pytest.raises(ArithmeticError):
        planned(fill=a_sale("0.25"), carried=Decimal("sNaN"))
    assert unplannable(a_sale("0.25"), Decimal("sNaN")) == PlannedExit(Decimal("0.25"), ZERO)
    assert columns_of(unplannable(a_sale("0"), ZERO)).skip_reason is SkipReason.CANNOT_BE_PLANNED


def test_the_equity_of_the_finding_is_planned_within_the_followers_own_equity() -> None:
    """A master's equity of 0.00000001 dollars once stopped the engine of its broker."""
    assert columns(fill=a_fill(master_equity_before="0.00000001")).quantity == Decimal("0.02")


@pytest.mark.parametrize(
    ("plan", "columns"),
    [
        (PlannedOpen(Decimal(2), Decimal(1)), PlanColumns(Decimal(2), None, None, Decimal(1))),
        (PlannedExit(Decimal("0.5"), ZERO), PlanColumns(None, Decimal("0.5"), None, ZERO)),
        (LookOnly(Decimal(1)), PlanColumns(ZERO, None, None, Decimal(1))),
        (Skip(SkipReason.PAUSED, Decimal(1)), PlanColumns(None, None, SkipReason.PAUSED, Decimal(1))),
    ],
)
def test_a_plan_survives_its_way_through_the_ledger(plan: Plan, columns: PlanColumns) -> None:
    """The ledger and the mailbox have columns, and a worker gets the plan of the order back."""
    assert columns_of(plan) == columns
    assert isinstance(plan, Skip) or order_of(columns.quantity, columns.fraction, columns.carried_after) == plan


def test_a_conversion_of_cash_is_skipped() -> None:
    """Neither side of the pair is a position, whatever the side of the trade is."""
    for fill in (a_fill(symbol="EUR/USD"), a_sale("1", symbol="USDC/USDT")):
        assert planned(fill=fill, carried=Decimal(1)) == Skip(SkipReason.CASH_CONVERSION, Decimal(1))


def test_a_purchase_that_is_paid_with_a_coin_is_an_exit_of_that_coin() -> None:
    """It needs no account and no equity, and a paused follower leaves the coin, too. Owed BTC become less."""
    fill = a_fill(symbol="ETH/BTC", fraction_closed="0.25", master_equity_before=None)
    for follower in (a_follower(), a_follower(status=FollowerStatus.PAUSED)):
        found = planned(fill=fill, follower=follower, account=None, carried=Decimal(4))
        assert found == PlannedExit(Decimal("0.25"), Decimal(3))
    assert unplannable(fill, ZERO) == PlannedExit(Decimal("0.25"), ZERO)


def test_a_purchase_with_a_coin_that_was_not_bought_under_nija_is_skipped() -> None:
    """Followers have no copied coin for it, and their own coins are never spent."""
    assert planned(fill=a_fill(symbol="ETH/BTC", fraction_closed="0")) == Skip(SkipReason.NO_POSITION, ZERO)
