"""Tests the state of an account: the example, and both sides of every bound of the status."""

from decimal import Decimal

import pytest
from pydantic import ValidationError

from shared.domain.capital.arithmetic import cut_cents
from shared.domain.capital.facts import AccountFacts, MarginFacts, RequestedOdds
from shared.domain.capital.state import CapitalStatus, capital_state, capital_status, unrealized_percent
from tests.support.capital import a_margin_account, a_position, a_spot_account, instrument_of
from tests.support.examples import NOW


def test_a_wallet_of_5000_with_800_used_and_leverage_5_is_the_example() -> None:
    """The worked example: 4,200 available, 16 % used, buying power 25,000, HEALTHY."""
    state = capital_state(a_margin_account("5000", "800", "5"))
    assert state.total_wallet_balance == 5000
    assert state.available_balance == 4200
    assert state.margin_used == 800
    assert state.margin_used_pct == 16
    assert state.margin_free_pct == 84
    assert state.buying_power == 25000
    assert state.capital_status is CapitalStatus.HEALTHY
    assert state.as_of == NOW


@pytest.mark.parametrize(
    ("wallet", "most_leverage", "power"),
    [("500", "20", "5000"), ("500", "2", "1000"), ("999.99", "20", "9999.90"), ("1000", "20", "8000")],
)
def test_buying_power_is_bounded_by_the_class_and_by_the_account(wallet: str, most_leverage: str, power: str) -> None:
    """The smaller one of both leverages counts."""
    assert capital_state(a_margin_account(wallet, "0", most_leverage)).buying_power == Decimal(power)


def test_a_spot_account_uses_no_margin() -> None:
    """Its wallet is its equity, and its buying power is its free cash."""
    held = a_position(quantity="2", price="150", entry_price="100")
    state = capital_state(a_spot_account("1000", free_cash="700", positions=(held,)))
    assert state.total_wallet_balance == state.total_equity == 1000
    assert state.available_balance == state.buying_power == 700
    assert state.margin_used == state.margin_used_pct == 0
    assert state.margin_free_pct == 70
    assert state.unrealized_pnl == 100
    assert state.positions == 1


def test_positions_without_a_known_entry_price_have_no_unrealized_profit() -> None:
    """A person's own coins count as positions, but nija does not know what they cost."""
    own = a_position("ETH", entry_price=None, opened_by_nija=False)
    unpriced = a_position("SOL", price=None)
    state = capital_state(a_spot_account(positions=(own, unpriced)))
    assert state.unrealized_pnl == 0
    assert state.positions == 2


def test_a_short_position_gains_when_the_price_falls() -> None:
    """Its quantity is below zero."""
    short = a_position(quantity="-2", entry_price="100", price="90")
    assert short.unrealized == 20
    assert short.unrealized_pct == 10
    assert short.value == 180


@pytest.mark.parametrize(
    ("used", "unrealized", "status"),
    [
        ("0", "0", CapitalStatus.HEALTHY),
        ("49.99", "0", CapitalStatus.HEALTHY),
        ("50", "0", CapitalStatus.WARNING),
        ("74.99", "-50", CapitalStatus.WARNING),
        ("75", "0", CapitalStatus.CRITICAL),
        ("75", "-10", CapitalStatus.CRITICAL),
        ("75", "-10.01", CapitalStatus.EMERGENCY),
        ("89.99", "0", CapitalStatus.CRITICAL),
        ("90", "0", CapitalStatus.EMERGENCY),
        ("0", "-5", CapitalStatus.HEALTHY),
        ("0", "-5.01", CapitalStatus.WARNING),
    ],
)
def test_status_changes_exactly_at_its_bounds(used: str, unrealized: str, status: CapitalStatus) -> None:
    """Used margin includes the bound; a loss must be larger than its bound."""
    assert capital_status(Decimal(used), Decimal(unrealized)) is status


def test_a_loss_on_an_empty_wallet_is_a_loss_of_everything() -> None:
    """Nothing is divided by zero."""
    assert unrealized_percent(Decimal(-1), Decimal(0)) == -100
    assert unrealized_percent(Decimal(0), Decimal(0)) == 0
    assert capital_state(a_margin_account("0", "10")).margin_used_pct == 100
    assert capital_state(a_spot_account("0")).margin_free_pct == 0


@pytest.mark.parametrize(
    ("amount", "cents"), [("1.875", "1.87"), ("1.999999", "1.99"), ("0.009", "0"), ("-1.001", "-1.01"), ("2", "2")]
)
def test_cents_are_cut_and_never_rounded_up(amount: str, cents: str) -> None:
    """A loss is rounded away from zero for the same reason."""
    assert cut_cents(Decimal(amount)) == Decimal(cents)


@pytest.mark.parametrize("bad", ["NaN", "sNaN", "Infinity", "-Infinity", "1e19", "1e400", 0.5, True, "ten", None])
def test_an_account_refuses_what_is_no_amount(bad: object) -> None:
    """The API answers 422 for such a ValueError, and the message names the field."""
    with pytest.raises(ValidationError, match="equity"):
        AccountFacts(equity=bad, free_cash="1", read_at=NOW)


@pytest.mark.parametrize(
    ("field", "bad"), [("used", "-0.01"), ("most_leverage", "0"), ("most_leverage", "-1"), ("wallet", "NaN")]
)
def test_margin_refuses_amounts_out_of_their_range(field: str, bad: str) -> None:
    """Used margin is never below zero, and a leverage is always above."""
    with pytest.raises(ValidationError, match=field):
        MarginFacts(**{"wallet": "1", "used": "1", "most_leverage": "1", field: bad})


@pytest.mark.parametrize(
    "odds",
    [
        {"win_rate": "1.01"},
        {"win_rate": "-0.1"},
        {"win_rate": "58"},
        {"average_win": "-1", "average_loss": "1"},
        {"average_win": "1", "average_loss": "-1"},
        {"average_win": "1"},
        {"average_loss": "1"},
    ],
)
def test_a_request_refuses_impossible_odds(odds: dict[str, str]) -> None:
    """A win rate is 0 to 1, and the two averages belong together."""
    with pytest.raises(ValidationError):
        RequestedOdds(**odds)


@pytest.mark.parametrize("rate", ["0", "1"])
def test_a_win_rate_of_nothing_and_of_everything_is_possible(rate: str) -> None:
    """The ends of the range."""
    assert RequestedOdds(win_rate=rate).win_rate == Decimal(rate)


@pytest.mark.parametrize("broken", [{"lot": "0"}, {"price_tick": "0"}, {"lot": "-1"}])
def test_an_instrument_without_a_lot_or_a_tick_is_refused(broken: dict[str, str]) -> None:
    """Nothing could be rounded to it."""
    with pytest.raises(ValidationError, match="must both be above 0"):
        a_position(instrument=instrument_of(**broken))
