"""A past decision computed again: what was recorded of its inputs in, the fields that come out differently out. Pure."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict

from shared.domain.accounts.balance import READINGS_UNTIL_UNAVAILABLE
from shared.domain.accounts.snapshot import AccountSnapshot
from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.copying.follower import Follower, FollowerPolicy, FollowerStatus
from shared.domain.copying.master_fill import MasterFill
from shared.domain.copying.plan import Plan, plan
from shared.domain.copying.reasons import SkipReason
from shared.domain.identity import FollowerId
from shared.domain.instrument import Instrument


class RecordedDecision(BaseModel):
    """What the ledger has of one follower's decision: every input that is the follower's own, and what came out."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    status: FollowerStatus
    minimum_notional: Amount
    equity: Amount | None
    """US dollars, of the snapshot that was used; None when there was none."""
    snapshot_at: Instant | None
    account_unavailable: bool
    """Readings of the account had failed so often that the snapshot did not count."""
    carried_before: Amount
    decided_at: Instant
    instrument: Instrument | None
    """None: the broker did not list the symbol, or its listing could not be read."""
    skip_reason: SkipReason | None
    quantity: Amount | None
    fraction: Amount | None
    carried_after: Amount


class Difference(BaseModel):
    """One field of a decision that comes out differently; amounts in base currency."""

    model_config = ConfigDict(frozen=True)

    follower_id: FollowerId
    field: str
    recorded: str | Amount | None
    computed: str | Amount | None


def replayed(fill: MasterFill, recorded: RecordedDecision, snapshot_max_age: timedelta) -> Plan:
    """Decide again, at the recorded moment and from the recorded inputs."""
    account = None
    if recorded.equity is not None and recorded.snapshot_at is not None:
        account = AccountSnapshot(
            equity=recorded.equity,
            # The planner sizes by equity alone; how it was split is not recorded with a decision.
            cash=ZERO,
            taken_at=recorded.snapshot_at,
            failed_reads=READINGS_UNTIL_UNAVAILABLE if recorded.account_unavailable else 0,
        )
    follower = Follower(
        broker=fill.broker,
        follower_id=recorded.follower_id,
        status=recorded.status,
        policy=FollowerPolicy(minimum_notional=recorded.minimum_notional),
        # Why it could not be read is not recorded; only that it was so.
        policy_error="as recorded" if recorded.skip_reason is SkipReason.POLICY_UNREADABLE else None,
    )
    unreadable = recorded.skip_reason is SkipReason.INSTRUMENT_UNREADABLE
    no_instrument = SkipReason.INSTRUMENT_UNREADABLE if unreadable else SkipReason.UNSUPPORTED_SYMBOL
    return plan(
        fill,
        follower,
        account,
        recorded.instrument or no_instrument,
        recorded.carried_before,
        now=recorded.decided_at,
        snapshot_max_age=snapshot_max_age,
    )


def differences(fill: MasterFill, recorded: RecordedDecision, snapshot_max_age: timedelta) -> list[Difference]:
    """Every field that the planner decides otherwise today; empty: the decision is identical.

    Of an order that was only to be looked for (quantity 0) there is nothing to compare: why is not recorded.
    """
    if recorded.quantity == ZERO:
        return []
    computed = replayed(fill, recorded, snapshot_max_age)
    return [
        Difference(
            follower_id=recorded.follower_id,
            field=field,
            recorded=getattr(recorded, field),
            computed=getattr(computed, field),
        )
        for field in Plan._fields
        if getattr(recorded, field) != getattr(computed, field)
    ]
