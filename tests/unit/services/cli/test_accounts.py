"""Tests that the table of accounts adds up, to the cent."""

from datetime import UTC, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.cli import accounts, output
from shared.domain.accounts.balance import BalanceSnapshot, UserBrokerState
from shared.domain.identity import Broker

AMOUNTS = st.decimals(min_value=-1_000, max_value=1_000_000, places=8)
CENT = Decimal("0.01")


@given(parts=st.lists(AMOUNTS, min_size=1, max_size=4))
def test_parts_in_cents_add_up_and_are_less_than_a_cent_off(parts: list[Decimal]) -> None:
    """The total is rounded as always; a part that is whole cents stays as it is."""
    total, *shown = accounts.in_cents(sum(parts, Decimal(0)), *parts)
    assert total == round(sum(parts, Decimal(0)), 2)
    assert sum(shown) == total
    for part, cents in zip(parts, shown, strict=True):
        assert abs(part - cents) < CENT
        assert cents == part or part % CENT


def test_parts_that_do_not_add_up_are_shown_as_they_are() -> None:
    """A difference of more than a cent is news, and no rounding."""
    assert accounts.in_cents(Decimal("10.006"), Decimal("3.001"), Decimal(2)) == [
        Decimal("10.01"),
        Decimal("3.00"),
        Decimal(2),
    ]


def test_the_shown_total_is_the_sum_of_available_and_locked() -> None:
    """Each rounded by itself, these would show 20.01 = 5.00 + 15.00."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    balance = BalanceSnapshot.model_validate(
        {
            "total_equity_usd": "20.008",
            "available_usd": "5.003",
            "locked_in_positions_usd": "15.005",
            "held_usd": "15.005",
            "taken_at": now,
            "stale": False,
        }
    )
    state = UserBrokerState(
        broker=Broker.KRAKEN,
        user_id="alice",
        role="follower",
        status="active",
        connected=True,
        available_for_opens=True,
        balance=balance,
        last_updated=now,
    )
    with output.console.capture() as captured:
        accounts.show_accounts([state])
    [row] = [line.split() for line in captured.get().splitlines() if line.startswith("alice")]
    total, available, locked, held = map(Decimal, row[2:6])
    assert total == available + locked == Decimal("20.01")
    assert held == locked
