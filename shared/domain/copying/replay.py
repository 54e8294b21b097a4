"""Computes a past decision again from its recorded inputs and returns the fields whose results differ. Pure."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.copying.follower import Follower, FollowerPolicy, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import plan, unplannable
from shared.domain.copying.planned import Plan, PlanColumns, columns_of
from shared.domain.copying.reasons import SkipReason
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument
from shared.domain.stop import StopMode


class RecordedDecision(BaseModel):
    """The ledger's record of one follower's decision: every input that is the follower's own, and the result."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    status: FollowerStatus
    stop_mode: StopMode | None = None
    """The stop that applied to the follower."""
    minimum_notional: Amount
    equity: Amount | None
    """In US dollars, from the snapshot that was used; None when there was none."""
    snapshot_at: Instant | None
    account_unavailable: bool
    """Readings of the account had failed so often that the snapshot did not count."""
    carried_before: Amount
    decided_at: Instant
    instrument: Instrument | None
    """None when the broker did not list the symbol, or when its listing could not be read."""
    skip_reason: SkipReason | None
    quantity: Amount | None
    fraction: Amount | None
    carried_after: Amount


class Difference(BaseModel):
    """One field of a decision whose recorded and computed values differ; amounts are in base currency."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    field: str
    recorded: str | Amount | None
    computed: str | Amount | None


def replayed(fill: MasterFill, recorded: RecordedDecision, snapshot_max_age: timedelta) -> Plan:
    """Decide again, for the recorded moment and from the recorded inputs."""
    account = None
    if recorded.equity is not None and recorded.snapshot_at is not None:
        account = AccountSnapshot(
            equity=recorded.equity,
            # The planner sizes by equity alone, and a decision does not record how the equity was split.
            cash=ZERO,
            taken_at=recorded.snapshot_at,
            failed_reads=READINGS_UNTIL_UNAVAILABLE if recorded.account_unavailable else 0,
        )
    follower = Follower(
        broker=fill.broker,
        follower_id=recorded.follower_id,
        status=recorded.status,
        policy=FollowerPolicy(minimum_notional=recorded.minimum_notional),
        # The decision records only that the policy could not be read, not why.
        policy_error="as recorded" if recorded.skip_reason is SkipReason.POLICY_UNREADABLE else None,
    )
    unreadable = recorded.skip_reason is SkipReason.INSTRUMENT_UNREADABLE
    no_instrument = SkipReason.INSTRUMENT_UNREADABLE if unreadable else SkipReason.UNSUPPORTED_SYMBOL
    try:
        return plan(
            fill,
            follower,
            account,
            recorded.instrument or no_instrument,
            recorded.carried_before,
            now=recorded.decided_at,
            snapshot_max_age=snapshot_max_age,
            stop=recorded.stop_mode,
        )
    except ArithmeticError:
        return unplannable(fill, recorded.carried_before)


def differences(fill: MasterFill, recorded: RecordedDecision, snapshot_max_age: timedelta) -> list[Difference]:
    """Every field that the planner decides differently today. Empty when the decision is identical.

    An order that was only to be looked up (quantity 0) is not compared, because its reason is not recorded.
    """
    if recorded.quantity == ZERO:
        return []
    computed = columns_of(replayed(fill, recorded, snapshot_max_age))
    return [
        Difference(
            follower_id=recorded.follower_id,
            field=field,
            recorded=getattr(recorded, field),
            computed=getattr(computed, field),
        )
        for field in PlanColumns._fields
        if getattr(recorded, field) != getattr(computed, field)
    ]
