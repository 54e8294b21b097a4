"""Tests that total = available + locked, and that a failed reading is never a zero."""

from datetime import timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE, balance_of
from shared.domain.accounts.equity import Balance, snapshot
from shared.domain.copying.plan import plan
from shared.domain.copying.planned import columns_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.events import EVENT, SnapshotEvent
from tests.support.examples import NOW, a_fill, a_follower, a_sale, an_account, an_instrument

MAXIMUM_AGE = timedelta(minutes=15)
quantities = st.integers(0, 10**17).map(lambda units: Decimal(units).scaleb(-8))


@given(free=st.lists(quantities, min_size=3, max_size=3), held=st.lists(quantities, min_size=3, max_size=3))
def test_total_is_available_plus_locked(free: list[Decimal], held: list[Decimal]) -> None:
    """For any balances; what is held is a part of the locked, and coins without a price are listed."""
    balances = {
        name: Balance(free=f, total=f + h) for name, f, h in zip(("USD", "BTC", "ODD"), free, held, strict=True)
    }
    balance = balance_of(snapshot(balances, {"BTC": Decimal(50_000)}, NOW), NOW, MAXIMUM_AGE)
    assert balance.total_equity_usd == balance.available_usd + balance.locked_in_positions_usd
    assert balance.available_usd == free[0]
    assert balance.held_usd == held[0] + held[1] * 50_000 <= balance.locked_in_positions_usd
    assert balance.unpriced == (("ODD",) if free[2] + held[2] else ())


def test_a_balance_is_stale_after_a_failed_reading_or_with_age() -> None:
    """The sums stay what they were."""
    fresh = an_account("1000")
    assert not balance_of(fresh, NOW + MAXIMUM_AGE, MAXIMUM_AGE).stale
    assert balance_of(fresh, NOW + MAXIMUM_AGE + timedelta(seconds=1), MAXIMUM_AGE).stale
    failed = balance_of(fresh.model_copy(update={"failed_reads": 1}), NOW, MAXIMUM_AGE)
    assert failed.stale
    assert failed.total_equity_usd == 1000


def test_three_failed_readings_stop_opens_and_not_exits() -> None:
    """Two do not stop them; a sale is planned however often the reading failed."""
    account = an_account("1000")
    skipped = {}
    for failed_reads in range(READINGS_UNTIL_UNAVAILABLE + 2):
        marked = account.model_copy(update={"failed_reads": failed_reads})
        planned = plan(
            a_fill(), a_follower(), marked, an_instrument(), Decimal(0), now=NOW, snapshot_max_age=MAXIMUM_AGE
        )
        skipped[failed_reads] = columns_of(planned).skip_reason
        closing = plan(
            a_sale("1"), a_follower(), marked, an_instrument(), Decimal(0), now=NOW, snapshot_max_age=MAXIMUM_AGE
        )
        exit_plan = columns_of(closing)
        assert exit_plan.fraction == 1
    unavailable = SkipReason.ACCOUNT_UNAVAILABLE
    assert list(skipped.values()) == [None, None, None, unavailable, unavailable]


def test_snapshots_written_before_there_were_stale_ones_are_read() -> None:
    """The old payload of the stream, as it was."""
    old = (
        b'{"version":1,"type":"snapshot","broker":"kraken","follower_id":"alice","equity":"1000","cash":"900",'
        b'"held":"0","positions":"100","unpriced":[],"occurred_at":"2026-01-05T12:00:00Z"}'
    )
    event = EVENT.validate_json(old)
    assert isinstance(event, SnapshotEvent)
    assert event.stale is False
