"""Tests that a recorded decision, computed again, gives the same result or a list of the fields that differ."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.copying.follower import Follower, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import plan
from shared.domain.copying.planned import columns_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.copying.replay import RecordedDecision, differences
from shared.domain.fill import Side
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode
from tests.support.examples import NOW, a_fill, a_follower, a_sale, an_account, an_instrument

MAX_AGE = timedelta(minutes=15)


def recorded(
    fill: MasterFill,
    follower: Follower,
    account: AccountSnapshot | None,
    instrument: Instrument | SkipReason,
    carried: Decimal,
    stop: StopMode | None = None,
) -> RecordedDecision:
    """The planner's decision, as the ledger records it."""
    planned = plan(fill, follower, account, instrument, carried, now=NOW, snapshot_max_age=MAX_AGE, stop=stop)
    return RecordedDecision(
        follower_id=follower.follower_id,
        status=follower.status,
        stop_mode=stop,
        minimum_notional=follower.policy.minimum_notional,
        equity=account.equity if account else None,
        snapshot_at=account.taken_at if account else None,
        account_unavailable=account is not None and account.failed_reads >= READINGS_UNTIL_UNAVAILABLE,
        carried_before=carried,
        decided_at=NOW,
        instrument=instrument if isinstance(instrument, Instrument) else None,
        **columns_of(planned)._asdict(),
    )


@pytest.mark.parametrize("fill", [a_fill(), a_sale("0.3"), a_sale("0")], ids=["open", "exit", "untraded sale"])
@pytest.mark.parametrize("status", list(FollowerStatus))
@pytest.mark.parametrize(
    "account",
    [
        None,
        an_account("1234.5678"),
        an_account("0"),
        an_account(taken_at=NOW - 2 * MAX_AGE),
        an_account().model_copy(update={"failed_reads": READINGS_UNTIL_UNAVAILABLE}),
    ],
    ids=["never read", "read", "empty", "old", "unavailable"],
)
@pytest.mark.parametrize(
    "instrument",
    [
        an_instrument(),
        an_instrument(minimum_cost="100"),
        SkipReason.UNSUPPORTED_SYMBOL,
        SkipReason.INSTRUMENT_UNREADABLE,
    ],
)
@pytest.mark.parametrize("carried", ["0", "0.00001234567"])
def test_the_same_inputs_give_the_identical_decision(
    fill: MasterFill, status: FollowerStatus, account: AccountSnapshot | None, instrument: Any, carried: str
) -> None:
    """For every result and reason, the record contains all inputs of the planner."""
    decided = recorded(fill, a_follower(status=status), account, instrument, Decimal(carried))
    assert differences(fill, decided, MAX_AGE) == []


@pytest.mark.parametrize("fill", [a_fill(), a_sale("0.3")], ids=["open", "exit"])
@pytest.mark.parametrize("stop", list(StopMode))
def test_a_decision_during_a_stop_is_computed_with_the_recorded_stop(fill: MasterFill, stop: StopMode) -> None:
    """The stop may be over today. Without the record of it, an open would come out differently, and an exit not."""
    decided = recorded(fill, a_follower(), an_account("1000"), an_instrument(), Decimal(0), stop)
    assert differences(fill, decided, MAX_AGE) == []
    found = differences(fill, decided.model_copy(update={"stop_mode": None}), MAX_AGE)
    assert {each.field for each in found} == ({"quantity", "skip_reason"} if fill.side is Side.BUY else set())


def test_a_decision_that_comes_out_differently_is_told_field_by_field() -> None:
    """One difference is another recorded quantity, the other a shorter age limit than at that time."""
    fill = a_fill()
    decided = recorded(fill, a_follower(), an_account("1000", NOW - timedelta(minutes=10)), an_instrument(), Decimal(0))
    [quantity] = differences(fill, decided.model_copy(update={"quantity": Decimal("0.002")}), MAX_AGE)
    assert (quantity.follower_id, quantity.field) == ("alice", "quantity")
    assert (quantity.recorded, quantity.computed) == (Decimal("0.002"), Decimal("0.001"))
    stale = {each.field: each.computed for each in differences(fill, decided, timedelta(minutes=5))}
    assert stale == {"quantity": None, "skip_reason": SkipReason.ACCOUNT_STALE}


@pytest.mark.parametrize("fill", [a_fill(), a_sale("0.3")], ids=["open", "exit"])
def test_a_policy_that_could_not_be_read_gives_the_identical_decision(fill: MasterFill) -> None:
    """The ledger records only the reason of the skip, and that is enough."""
    follower = a_follower().model_copy(update={"policy_error": "its policy cannot be read"})
    decision = recorded(fill, follower, an_account(), an_instrument(), Decimal(0))
    assert differences(fill, decision, MAX_AGE) == []


def test_an_order_that_was_only_looked_for_is_no_difference() -> None:
    """A fill was planned again after Redis lost data, and the follower would now be skipped."""
    fill = a_fill(replayed=True)
    looked_for = recorded(fill, a_follower(status=FollowerStatus.PAUSED), an_account(), an_instrument(), Decimal(0))
    assert (looked_for.quantity, looked_for.skip_reason) == (0, None)
    assert differences(a_fill(), looked_for, MAX_AGE) == []
