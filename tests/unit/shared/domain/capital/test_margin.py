"""Tests margin zones at their bounds, and the automatic action of ORANGE and RED."""

from datetime import timedelta
from decimal import Decimal

import pytest

from shared.domain.capital.facts import HeldPosition
from shared.domain.capital.margin import (
    MarginAction,
    MarginActionState,
    MarginZone,
    ZoneAction,
    closing_cuts,
    is_demanded,
    margin_status,
    order_name,
    plan_margin_action,
    reducing_cuts,
    with_final_orders,
    zone_of,
)
from shared.domain.fill import Side
from tests.support.capital import a_margin_account, a_position, a_spot_account, instrument_of
from tests.support.examples import NOW

D = Decimal
FRESH = MarginActionState()


def used(pct: str, *positions: HeldPosition) -> object:
    """An account of 1,000 US dollars that uses this percentage as margin."""
    return a_margin_account("1000", D(pct) * 10, positions=positions or (a_position(),))


@pytest.mark.parametrize(
    ("pct", "zone", "action", "buffer"),
    [
        ("0", MarginZone.GREEN, ZoneAction.NORMAL, "50"),
        ("49.99", MarginZone.GREEN, ZoneAction.NORMAL, "0.01"),
        ("50", MarginZone.YELLOW, ZoneAction.NO_NEW_ENTRIES, "25"),
        ("74.99", MarginZone.YELLOW, ZoneAction.NO_NEW_ENTRIES, "0.01"),
        ("75", MarginZone.ORANGE, ZoneAction.REDUCE, "15"),
        ("89.99", MarginZone.ORANGE, ZoneAction.REDUCE, "0.01"),
        ("90", MarginZone.RED, ZoneAction.CLOSE, None),
        ("150", MarginZone.RED, ZoneAction.CLOSE, None),
    ],
)
def test_a_zone_includes_its_lower_bound(pct: str, zone: MarginZone, action: ZoneAction, buffer: str | None) -> None:
    """Only GREEN allows new entries."""
    status = margin_status(used(pct))
    assert (status.zone, status.action) == (zone, action)
    assert status.buffer_pct == (None if buffer is None else D(buffer))
    assert status.can_open_new is (zone is MarginZone.GREEN)
    assert status.is_applicable


def test_the_names_of_the_zones_are_those_of_the_api() -> None:
    """A contract with the users of the API."""
    assert list(MarginZone) == ["GREEN_ZONE", "YELLOW_ZONE", "ORANGE_ZONE", "RED_ZONE"]


def test_a_spot_account_is_always_green() -> None:
    """It uses no margin."""
    status = margin_status(a_spot_account())
    assert (status.zone, status.can_open_new, status.is_applicable) == (MarginZone.GREEN, True, False)


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "-0.01"])
def test_a_use_of_margin_that_means_nothing_is_refused(bad: str) -> None:
    """A ValueError."""
    with pytest.raises(ValueError, match="margin_used_pct|finite"):
        zone_of(D(bad))


def test_orange_sells_30_percent_of_each_own_position_in_whole_lots() -> None:
    """What is below the broker's minimum, unpriced or not opened by nija is left out. A short is bought back."""
    account = used(
        "80",
        a_position("BTC", instrument=instrument_of("BTC", lot="0.01"), quantity="0.55"),
        a_position("ETH", quantity="0.0001"),
        a_position("SOL", price=None),
        a_position("BNB", opened_by_nija=False),
        a_position("DOT", quantity="-10"),
    )
    cuts = reducing_cuts(account)
    assert [(cut.symbol.base, cut.side, cut.quantity) for cut in cuts] == [
        ("BTC", Side.SELL, D("0.16")),
        ("DOT", Side.BUY, D(3)),
    ]


def test_orange_acts_once_per_entry_and_again_only_after_its_orders_and_five_minutes() -> None:
    """Each bound alone is not enough."""
    account = used("80")
    first = plan_margin_action(FRESH, account, NOW)
    assert [cut.quantity for cut in first.cuts] == [D("0.3")]
    later = NOW + timedelta(minutes=10)
    assert plan_margin_action(first.state, account, later).cuts == ()
    ended = with_final_orders(first.state)
    assert plan_margin_action(ended, account, NOW + timedelta(minutes=4, seconds=59)).cuts == ()
    assert plan_margin_action(ended, account, NOW + timedelta(minutes=5)).cuts != ()


def test_leaving_orange_and_entering_again_at_once_reduces_only_once() -> None:
    """A use of margin that swings around the bound would otherwise sell 30 % each time."""
    first = with_final_orders(plan_margin_action(FRESH, used("75"), NOW).state)
    left = plan_margin_action(first, used("74"), NOW + timedelta(seconds=30)).state
    assert plan_margin_action(left, used("75"), NOW + timedelta(seconds=60)).cuts == ()


def test_the_action_survives_a_restart() -> None:
    """The stored state has the orders too, so a new process can look them up instead of guessing."""
    first = plan_margin_action(FRESH, used("80"), NOW)
    stored = MarginActionState.model_validate_json(first.state.model_dump_json())
    assert stored == first.state
    assert stored.last is not None
    assert stored.last.cuts == first.cuts


def test_red_closes_the_worst_own_position_one_at_a_time_until_below_75() -> None:
    """The next one is computed when the first is final. Between 75 and 90 it goes on, below 75 it stops."""
    bad = a_position("BTC", price="90")
    worse = a_position("ETH", price="80")
    foreign = a_position("SOL", price="1", opened_by_nija=False)
    first = plan_margin_action(FRESH, used("90", bad, worse, foreign), NOW)
    assert [(cut.symbol.base, cut.quantity) for cut in first.cuts] == [("ETH", 1)]
    assert plan_margin_action(first.state, used("95", bad, worse), NOW + timedelta(hours=1)).cuts == ()
    second = plan_margin_action(with_final_orders(first.state), used("80", bad), NOW + timedelta(seconds=30))
    assert [cut.symbol.base for cut in second.cuts] == ["BTC"]
    ended = plan_margin_action(with_final_orders(second.state), used("74.99", bad), NOW + timedelta(seconds=60))
    assert (ended.cuts, ended.state.is_closing) == ((), False)


def test_red_waits_for_a_reduction_that_is_under_way() -> None:
    """The same coins would be sold twice."""
    first = plan_margin_action(FRESH, used("80"), NOW)
    assert plan_margin_action(first.state, used("95"), NOW + timedelta(seconds=30)).cuts == ()
    ended = with_final_orders(first.state)
    assert plan_margin_action(ended, used("95"), NOW + timedelta(seconds=30)).cuts != ()


def test_a_position_that_cannot_be_sold_does_not_stop_red() -> None:
    """The worst one is below the broker's minimum, so the next one is closed."""
    dust = a_position("BTC", price="50", quantity="0.00001")
    other = a_position("ETH", price="90")
    (cut,) = closing_cuts(used("95", dust, other))
    assert cut.symbol.base == "ETH"


def test_a_position_whose_sale_executed_nothing_comes_last_until_one_is_sold() -> None:
    """RED goes on with the next worst one, and comes back to it."""
    account = used("95", a_position("BTC", price="80"), a_position("ETH", price="90"))
    state, now = FRESH, NOW
    tried = []
    for _ in range(4):
        now += timedelta(seconds=30)
        plan = plan_margin_action(state, account, now)
        (cut,) = plan.cuts
        tried.append(cut.symbol.base)
        state = with_final_orders(plan.state, [cut.symbol])
    assert tried == ["BTC", "ETH", "BTC", "ETH"]
    assert with_final_orders(plan_margin_action(state, account, now).state).unsold == ()
    assert plan_margin_action(state, used("74.99"), now).state.unsold == ()


def test_the_names_of_orders_follow_from_the_stored_round() -> None:
    """A process that takes over gives an order the same name, so it is not sent twice."""
    state = plan_margin_action(FRESH, used("80", a_position("BTC"), a_position("ETH")), NOW).state
    stored = MarginActionState.model_validate_json(state.model_dump_json()).last
    assert stored is not None
    milliseconds = int(NOW.timestamp() * 1000)
    names = [order_name(stored, cut) for cut in stored.cuts]
    assert names == [f"margin-reduce-{milliseconds}-BTC-USD", f"margin-reduce-{milliseconds}-ETH-USD"]


@pytest.mark.parametrize(
    ("kind", "seconds", "pct", "demanded"),
    [
        (ZoneAction.REDUCE, 299, "0", True),
        (ZoneAction.REDUCE, 300, "74.99", False),
        (ZoneAction.REDUCE, 3600, "75", True),
        (ZoneAction.CLOSE, 1, "74.99", False),
        (ZoneAction.CLOSE, 1, "75", True),
        (ZoneAction.CLOSE, 3600, "95", True),
    ],
)
def test_an_order_that_was_not_sent_is_demanded_while_its_round_is_young_or_the_zone_lasts(
    kind: ZoneAction, seconds: int, pct: str, demanded: bool
) -> None:
    """A reduction that a killed process left half done is carried out whole by the next one."""
    action = MarginAction(kind=kind, started_at=NOW, cuts=())
    assert is_demanded(action, used(pct), NOW + timedelta(seconds=seconds)) is demanded


def test_without_own_positions_nothing_is_done_and_nothing_is_remembered() -> None:
    """The next reading tries again."""
    plan = plan_margin_action(FRESH, used("80", a_position(opened_by_nija=False)), NOW)
    assert (plan.cuts, plan.state.last) == ((), None)
    assert with_final_orders(plan.state) == plan.state
    assert closing_cuts(a_spot_account()) == ()


@pytest.mark.parametrize("pct", ["0", "49.99", "74.99"])
def test_green_and_yellow_do_nothing(pct: str) -> None:
    """YELLOW only forbids entries."""
    assert plan_margin_action(FRESH, used(pct), NOW).cuts == ()
