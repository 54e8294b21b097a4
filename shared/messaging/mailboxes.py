"""Gives engines and workers the steps of the mailbox protocol as methods, each of which runs one Lua script.

An engine delivers. A worker claims, records, settles, adjusts, releases, renews and sweeps. `docs/architecture.md` says
what the protocol guarantees. The steps themselves are in the folder `lua`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import structlog
from pydantic import BaseModel, ConfigDict

from shared.domain.amounts import ZERO, Amount, Instant
from shared.domain.copying.copy_order import CopiedPosition
from shared.domain.copying.reasons import SkipReason
from shared.domain.errors import NijaError
from shared.domain.identity import CopyOrderId, FollowerId
from shared.messaging.alerts import AlertKind, Alerts
from shared.messaging.keys import BrokerKeys
from shared.messaging.scripts import Argument, ScriptRunner

UNREADABLE_RETRY_MS = 60_000

log = structlog.get_logger()


class ClaimLost(NijaError):
    """Another worker may serve this follower now: stop, send nothing and record nothing."""


class AlreadyDelivered(NijaError):
    """Nothing was delivered: another engine has delivered this part, or the list of followers has changed."""


class Submission(BaseModel):
    """How far the order at the head of a mailbox has come at the broker. It is written before a request is sent."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    copy_order_id: CopyOrderId
    stage: Literal["submitting", "unknown", "accepted"]
    attempt: int
    quantity: Amount
    """The quantity of the newest attempt, in base currency."""
    exit_due: Amount = ZERO
    """The quantity that an exit should sell, including the carry. In base currency."""
    claimed_at: Instant
    submitted_at: Instant
    """The time of the newest attempt."""
    valid_until: Instant
    """The broker must not execute the newest attempt later than this."""
    broker_order_id: str | None = None
    accepted_at: Instant | None = None
    canceled_for: SkipReason | None = None
    """Why nija cancels the accepted open. It is recorded before the request to cancel."""
    why: str = ""
    """Why the outcome of the newest attempt is unknown, in the broker's words."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to serve one follower. It holds as long as no newer fencing number exists for the follower."""

    follower_id: FollowerId
    fence: bytes


@dataclass(frozen=True, slots=True)
class ClaimedFollower:
    """A claimed follower, as it was at the moment of the claim. `head` is the JSON of a CopyOrder, or empty."""

    claim: Claim
    head: bytes
    submission: Submission | None
    positions: dict[str, CopiedPosition]
    """The copied positions by asset."""
    request: bytes = b""
    """The JSON of a ReconciliationRequest, or empty."""


@dataclass(frozen=True, slots=True)
class NextHead:
    """The head of the mailbox after a settle. If `head` is empty, the follower has been released."""

    head: bytes
    positions: dict[str, CopiedPosition]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep found: expired claims, accounts due to be read, and followers that have been ready for too long."""

    expired: int
    accounts_due: int
    overdue: int


def _positions(flat: Sequence[bytes]) -> dict[str, CopiedPosition]:
    return {
        asset.decode(): CopiedPosition.model_validate_json(value)
        for asset, value in zip(flat[::2], flat[1::2], strict=True)
    }


def _stored(position: CopiedPosition) -> Argument:
    """The position as Redis has it; empty for none."""
    return position.model_dump_json() if position.quantity or position.carried_exit else b""


class Mailboxes:
    """One broker's mailboxes. All methods raise RedisError when Redis does not answer."""

    def __init__(self, scripts: ScriptRunner, keys: BrokerKeys, claim_ms: int, alerts: Alerts | None = None) -> None:
        """`alerts` is needed by callers of `claim`: it raises an alert when the record of a follower cannot be read."""
        self._scripts = scripts
        self._alerts = alerts
        self._keys = keys
        self._claim_ms = claim_ms
        self._record_keys = (keys.claims, keys.fences, keys.submitting, keys.events)
        self._claim_keys = (
            keys.ready,
            keys.claims,
            keys.fences,
            keys.fence,
            keys.submitting,
            keys.roster,
            keys.reconciliation_requests,
        )
        self._deliver_keys = (keys.shards, keys.events, keys.ready, keys.claims, keys.carries, keys.roster)

    async def deliver(
        self,
        shard: int,
        position: bytes,
        position_after: bytes,
        event: bytes,
        orders: Sequence[Argument],
        carries: Sequence[Argument],
        roster_version: int,
    ) -> int:
        """Deliver to some followers of a shard, and return how many of them became ready.

        `orders` alternates follower and JSON of the CopyOrder. `carries` alternates field and amount.
        `roster_version` is the version of the follower list that was used for planning. Raises AlreadyDelivered.
        """
        newly_ready: int = await self._scripts.run(
            "deliver",
            self._deliver_keys,
            [
                shard,
                position,
                position_after,
                event,
                self._keys.mailbox_prefix,
                roster_version,
                len(orders) // 2,
                *orders,
                *carries,
            ],
        )
        if newly_ready < 0:
            raise AlreadyDelivered(f"shard {shard} is not at {position!r} any more, or the follower list changed")
        return newly_ready

    async def claim(self, limit: int) -> tuple[int, list[ClaimedFollower]]:
        """Claim up to `limit` ready followers. Return the roster version and the claimed followers.

        A follower whose record cannot be read is left out: it raises an alert, is released, and is ready again later.
        """
        version, *rows = await self._scripts.run(
            "claim",
            self._claim_keys,
            [limit, self._claim_ms, self._keys.mailbox_prefix, self._keys.positions_prefix],
        )
        claimed: list[ClaimedFollower] = []
        for follower, fence, head, submission, positions, request in rows:
            claim = Claim(follower.decode(), fence)
            try:
                recorded = Submission.model_validate_json(submission) if submission else None
                claimed.append(ClaimedFollower(claim, head, recorded, _positions(positions), request))
            except ValueError as error:
                # The record is damaged, or of an unknown version. Only this follower waits.
                log.critical("what is recorded cannot be read", follower=claim.follower_id, error=str(error))
                if self._alerts is not None:
                    await self._alerts.sound(AlertKind.UNREADABLE_MAIL, claim.follower_id, str(error))
                await self.release(claim, ready_in_ms=UNREADABLE_RETRY_MS)
        return int(version), claimed

    async def record(self, claim: Claim, before: Submission | None, after: Submission, event: bytes = b"") -> None:
        """Record how far the head has come. Raises ClaimLost, also when the record is no longer `before`."""
        reply = await self._scripts.run(
            "record",
            self._record_keys,
            [
                claim.follower_id,
                claim.fence,
                self._claim_ms,
                before.model_dump_json() if before else b"",
                after.model_dump_json(),
                event,
            ],
        )
        if reply != 1:
            raise ClaimLost(f"{claim.follower_id}: the claim was lost before the order's state was recorded")

    async def settle(
        self,
        claim: Claim,
        copy_order_id: CopyOrderId,
        event: bytes,
        positions: Mapping[str, CopiedPosition],
        refresh_in_ms: int | None,
    ) -> NextHead:
        """Remove the order from the mailbox, set the copied positions and append the final event, all in one step.

        `positions`: those that the order moved, by asset. `refresh_in_ms`: when the account is due to be read, if not earlier; None leaves the planned time. Raises ClaimLost.
        """
        reply = await self._scripts.run(
            "settle",
            (
                self._keys.claims,
                self._keys.fences,
                self._keys.submitting,
                self._keys.events,
                self._keys.refresh,
                self._keys.mailbox(claim.follower_id),
                self._keys.positions(claim.follower_id),
            ),
            [
                claim.follower_id,
                claim.fence,
                self._claim_ms,
                copy_order_id,
                event,
                "" if refresh_in_ms is None else refresh_in_ms,
                *(part for asset, position in positions.items() for part in (asset, _stored(position))),
            ],
        )
        if reply[0] != 1:
            raise ClaimLost(f"{claim.follower_id}: the claim was lost before order {copy_order_id} was settled")
        return NextHead(head=reply[1], positions=_positions(reply[2]))

    async def adjust(self, claim: Claim, asset: str, position: CopiedPosition, event: bytes) -> bool:
        """Set a copied position and append the event with the reason. Return whether it was done.

        It is not done when mail has arrived meanwhile. Raises ClaimLost.
        """
        reply = await self._scripts.run(
            "adjust",
            (
                self._keys.fences,
                self._keys.positions(claim.follower_id),
                self._keys.events,
                self._keys.mailbox(claim.follower_id),
            ),
            [
                claim.follower_id,
                claim.fence,
                asset,
                _stored(position),
                event,
            ],
        )
        if reply == 0:
            raise ClaimLost(f"{claim.follower_id}: the claim was lost before its position in {asset} was adjusted")
        return bool(reply == 1)

    async def release(self, claim: Claim, *, ready_in_ms: int = 0, forget_submission: bool = False) -> None:
        """Give up the claim. A follower with mail becomes ready after `ready_in_ms`. A lost claim is no error here."""
        await self._scripts.run(
            "release",
            (
                self._keys.claims,
                self._keys.fences,
                self._keys.submitting,
                self._keys.ready,
                self._keys.mailbox(claim.follower_id),
            ),
            [claim.follower_id, claim.fence, ready_in_ms, int(forget_submission)],
        )

    async def renew(self, claims: Iterable[Claim]) -> list[str]:
        """Extend the claims, and return the followers whose claim is lost."""
        pairs: list[Argument] = [part for claim in claims for part in (claim.follower_id, claim.fence)]
        if not pairs:
            return []
        lost = await self._scripts.run("renew", (self._keys.claims, self._keys.fences), [self._claim_ms, *pairs])
        return [follower.decode() for follower in lost]

    async def sweep(self, *, limit: int, account_reads: int, account_read_again_ms: int, overdue_ms: int) -> Swept:
        """End expired claims, make followers with due accounts ready, and count those ready for too long."""
        reply = await self._scripts.run(
            "sweep",
            (self._keys.ready, self._keys.claims, self._keys.fences, self._keys.refresh),
            [limit, account_reads, account_read_again_ms, overdue_ms, self._keys.mailbox_prefix],
        )
        return Swept(*reply)
