"""Tests the exits of an open position: their order, their bounds, and what each of them sells."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.fill import Side
from shared.domain.strategy.decide import decide_from
from shared.domain.strategy.decision import Exit, ExitReason, Hold, HoldReason, StrategyDecision
from shared.domain.strategy.exits import emergency_exit, is_emergency
from shared.domain.strategy.position import StrategyPosition
from tests.support.strategy import INSTRUMENT, fill, inputs, position

D = Decimal
CROSSED = {"ema_9": D(996), "ema_21": D(997)}


def decided(held: StrategyPosition, bid: str, **changes: Any) -> StrategyDecision:
    """The decision on a position of 1 BTC, bought at 1,000, at this bid and a close of 1,000."""
    return decide_from(inputs(held, best_bid=D(bid), **changes))


@pytest.mark.parametrize(
    ("bid", "stop", "values", "reason"),
    [
        ("990", "995", CROSSED, ExitReason.EMERGENCY),
        ("990.01", "995", CROSSED, ExitReason.STOP),
        ("995", "995", CROSSED, ExitReason.STOP),
        ("995.01", "995", CROSSED, ExitReason.EMA_CROSS),
        ("1010", "995", CROSSED, ExitReason.EMA_CROSS),
        ("1005", "995", {}, ExitReason.TARGET),
    ],
)
def test_exits_come_in_their_order(bid: str, stop: str, values: dict[str, Decimal], reason: ExitReason) -> None:
    """Where several exits are due, the first one of emergency, stop, crossing and target is taken."""
    sale = decided(position(stop=stop), bid, **values)
    assert isinstance(sale, Exit)
    assert sale.reason is reason
    assert sale.quantity == (D("0.5") if reason is ExitReason.TARGET else D(1))


def test_without_an_exit_the_position_is_held() -> None:
    """Between stop and first target, with the averages in order; averages that are equal have not crossed."""
    held = position(stop="995")
    for decision in (decided(held, "1004.99"), decided(held, "995.01"), decided(held, "1000", ema_9=D(997))):
        assert isinstance(decision, Hold)
        assert (decision.reasons, decision.position) == ((HoldReason.NO_EXIT,), held)


def test_without_a_bid_the_close_is_the_price() -> None:
    """A backtest has no bid at the close of a candle."""
    sale = decide_from(inputs(position(stop="995"), close=D(994), low=D(990)))
    assert isinstance(sale, Exit)
    assert (sale.reason, sale.price) == (ExitReason.STOP, D(994))


@pytest.mark.parametrize(
    ("bid", "fraction", "quantity"),
    [("1005", "0.5", "0.5"), ("1010", "0.75", "0.75"), ("1015", "1", "1"), ("1100", "1", "1")],
)
def test_each_target_sells_its_part_and_those_before_it(bid: str, fraction: str, quantity: str) -> None:
    """R is 5: half at 1,005, a quarter at 1,010 and the rest at 1,015. A jump sells what it passes in one order."""
    sale = decided(position(stop="995"), bid)
    assert isinstance(sale, Exit)
    assert (sale.fraction, sale.quantity) == (D(fraction), D(quantity))


def test_a_target_is_judged_by_what_was_filled() -> None:
    """An order for half that filled 0.3 leaves 0.2 due; before any fill, the whole half is due again."""
    held = position(stop="995")
    for _ in range(2):
        sale = decided(held, "1005")
        assert isinstance(sale, Exit)
        assert sale.quantity == D("0.5")
    sale = decided(held.after_fill(fill(Side.SELL, "0.3", "1005")), "1005")
    assert isinstance(sale, Exit)
    assert sale.quantity == D("0.2")


def test_the_stop_follows_the_price_after_the_first_target() -> None:
    """At a close of 1,020 and an ATR of 4 the stop is 1,014; a lower close later does not lower it."""
    held = position(stop="995").after_fill(fill(Side.SELL, "0.5", "1005"))
    assert held.stop == D("1006.2")  # break-even: 1,000 and a round trip of 0.62 %
    raised = decided(held, "1020", close=D(1020), high=D(1020))
    assert isinstance(raised, Exit)
    assert raised.position.stop == D(1014)
    lower = decided(raised.position, "1014.5", close=D(1015), high=D(1020))
    assert isinstance(lower, Exit)
    assert (lower.reason, lower.position.stop) == (ExitReason.TARGET, D(1014))


def test_below_one_r_the_stop_does_not_trail() -> None:
    """The close is at 1,004.99 with an ATR of 1, and the stop stays where it was."""
    decision = decided(position(stop="995"), "1004.99", close=D("1004.99"), high=D(1005), atr=D(1))
    assert decision.position == position(stop="995")


@pytest.mark.parametrize(("bid", "sells"), [("989.9", True), ("990", True), ("990.01", False), ("990.1", False)])
def test_one_percent_below_the_average_price_is_an_emergency(bid: str, sells: bool) -> None:
    """−1.01 % and −1 % are sold, −0.999 % and −0.99 % are not. The fees of the purchase are left out."""
    held = position(stop="900", fees=D(12))
    account = replace(inputs().account, best_bid=D(bid), equity_usd=D(0), exposure_usd=D(10_000))
    sale = emergency_exit(held, account)
    assert (sale is not None) == sells == is_emergency(D(bid), D(1000))
    if sale is not None:
        assert (sale.reason, sale.quantity, sale.threshold) == (ExitReason.EMERGENCY, D(1), D(990))
        assert sale.loss_share == (D(bid) - 1000) / 1000


def test_a_position_is_liquidated_once() -> None:
    """While its order is under way, and when nothing is left, no second sale is decided."""
    account = replace(inputs().account, best_bid=D(980))
    held = position(stop="900")
    assert emergency_exit(held, replace(account, order_under_way=True)) is None
    assert emergency_exit(held.after_fill(fill(Side.SELL, "1", "980")), account) is None
    assert emergency_exit(held, replace(account, best_bid=None)) is None


def test_an_exit_that_the_broker_would_refuse_is_named() -> None:
    """0.004 BTC at 995 are less than the minimum of 5 USD."""
    hold = decided(position(quantity="0.004", stop="996"), "995")
    assert isinstance(hold, Hold)
    assert hold.reasons == (HoldReason.EXIT_BELOW_MINIMUM,)


def test_a_rest_that_could_not_be_sold_later_is_sold_as_well() -> None:
    """The parts were planned at 1,000; after a rise of the minimum, the rest of the second sale goes along."""
    held = position(stop="995").after_fill(fill(Side.SELL, "0.5", "1005"))
    dear = replace(held, instrument=INSTRUMENT.model_copy(update={"minimum_quantity": D("0.25")}))
    assert dear.sale_of(D("0.25"), D(1010)) == D("0.25")
    dearer = replace(held, instrument=INSTRUMENT.model_copy(update={"minimum_quantity": D("0.26")}))
    assert dearer.sale_of(D("0.25"), D(1010)) == D("0.5")
