"""Serves the ready followers of a broker in a fixed number of places, each held by one follower at a time.

The places belong to the process and not to a drain. When the time of a drain is over, followers in progress are still
served, and the next drain gets the other places.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from redis.exceptions import RedisError

from services.broker_worker.serve import Serving
from shared.domain.accounts.credentials import Credentials
from shared.domain.errors import NijaError
from shared.domain.identity import FollowerId, master_of_mailbox
from shared.messaging.cancellation import end_tasks
from shared.messaging.mailboxes import Claim, ClaimedFollower, ClaimLost, Mailboxes
from shared.persistence.errors import BadSecretKey

CLAIM_PAUSE_SECONDS = 0.05
"""How long a drain with followers in progress waits before it claims more."""
GATHER_SECONDS = 0.01
NO_LEDGER_RETRY_MS = 2_000

LoadCredentials = Callable[[Sequence[FollowerId]], Mapping[FollowerId, Credentials | BadSecretKey]]
"""Return the key of each mailbox's account, or the error if it does not open. Accounts without a key are left out.

Blocks."""

log = structlog.get_logger()


class KeyRing:
    """The keys of followers that were served lately. It is emptied when the roster changes.

    The key of a master account is read each time, because the roster does not say when it changes.
    """

    def __init__(self, load: LoadCredentials) -> None:
        self._load = load
        self._version = -1
        self._known: dict[FollowerId, Credentials | BadSecretKey | None] = {}

    async def of(
        self, version: int, follower_ids: Sequence[FollowerId]
    ) -> Mapping[FollowerId, Credentials | BadSecretKey | None]:
        """Keys by follower id; None for a follower without a key. Raises the errors of the follower store."""
        if version != self._version:
            self._known.clear()
            self._version = version
        missing = [each for each in follower_ids if each not in self._known or master_of_mailbox(each) is not None]
        if missing:
            loaded = await asyncio.to_thread(self._load, missing)
            self._known.update({follower_id: loaded.get(follower_id) for follower_id in missing})
        return self._known


class Drain:
    """Serves ready followers on one event loop."""

    def __init__(
        self, serving: Serving, mailboxes: Mailboxes, key_ring: KeyRing, *, places: int, time_box_seconds: float
    ) -> None:
        self._serving = serving
        self._mailboxes = mailboxes
        self._key_ring = key_ring
        self._places = places
        self._time_box_seconds = time_box_seconds
        self._under_way: dict[asyncio.Task[None], Claim] = {}

    async def run(self) -> None:
        """Serve until no follower is ready or in progress, the time box is over, or the process is to stop."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._time_box_seconds
        with_orders = 0
        while not self._serving.stopping.is_set() and loop.time() < ends_at:
            free_places = self._places - len(self._under_way)
            claimed = await self._claim(free_places) if free_places > 0 else []
            with_orders += sum(1 for follower in claimed if follower.head)
            if not self._under_way:
                break
            if len(claimed) < free_places:
                await asyncio.wait(self._under_way, timeout=CLAIM_PAUSE_SECONDS)
            else:
                await asyncio.wait(self._under_way, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
                # Other followers are about to finish. One claim for several places costs as much as a claim for one.
                await asyncio.sleep(GATHER_SECONDS)
        if with_orders:
            # One line for each drain shows how several workers of a broker share the followers.
            log.info("drained", followers_with_orders=with_orders)

    async def renew_claims(self, every_seconds: float) -> None:
        """Renew the claims of all followers in progress until cancelled. A follower whose claim is lost is stopped."""
        while True:
            await asyncio.sleep(every_seconds)
            asked = dict(self._under_way)
            try:
                lost = set(await self._mailboxes.renew(asked.values()))
            except (RedisError, OSError) as error:
                log.warning("claims not renewed", error=str(error))
                continue
            # Check only the claims of this renewal: a follower may have come back under a new claim meanwhile.
            for task, claim in asked.items():
                if claim.follower_id in lost and task in self._under_way:
                    log.warning("claim lost", follower=claim.follower_id)
                    task.cancel()

    async def finish(self, within_seconds: float) -> None:
        """Stop claiming, let the followers in progress finish, and give back those that do not finish in time.

        What was begun for them is recorded, so the next worker looks it up. Raises RedisError.
        """
        self._serving.stopping.set()
        if not self._under_way:
            return
        await asyncio.wait(self._under_way, timeout=within_seconds)
        hanging = dict(self._under_way)
        await end_tasks(*hanging)
        if hanging:
            log.warning("left to the next worker", followers=[claim.follower_id for claim in hanging.values()])
            await asyncio.gather(*(self._mailboxes.release(claim) for claim in hanging.values()))

    async def _claim(self, limit: int) -> Sequence[ClaimedFollower]:
        claiming = asyncio.ensure_future(self._mailboxes.claim(limit))
        claimed: list[ClaimedFollower] = []
        try:
            # Shielded: if the reply were lost, the claimed followers would not be served until their claims expire.
            version, claimed = await asyncio.shield(claiming)
            if not claimed:
                return []
            keys = await self._key_ring.of(version, [c.claim.follower_id for c in claimed])
        except NijaError as error:
            log.warning("keys not read", error=str(error))
            await self._give_back(claimed, NO_LEDGER_RETRY_MS)
            return []
        except asyncio.CancelledError:
            await self._give_back((await claiming)[1], 0)
            raise
        for follower in claimed:
            task = asyncio.create_task(self._serve(follower, keys[follower.claim.follower_id]))
            self._under_way[task] = follower.claim
            task.add_done_callback(self._under_way.pop)
        return claimed

    async def _give_back(self, claimed: Sequence[ClaimedFollower], ready_in_ms: int) -> None:
        for follower in claimed:
            await self._mailboxes.release(follower.claim, ready_in_ms=ready_in_ms)

    async def _serve(self, claimed: ClaimedFollower, key: Credentials | BadSecretKey | None) -> None:
        follower_id = claimed.claim.follower_id
        try:
            if isinstance(key, BadSecretKey):
                await self._serving.without_readable_key(claimed, key)
            else:
                await self._serving.follower(claimed, key)
        except ClaimLost as lost:
            log.info("claim lost", follower=follower_id, detail=str(lost))
        except (RedisError, OSError) as error:
            # What was begun is recorded. When Redis is back, the sweep finds the follower.
            log.warning("redis is away", follower=follower_id, error=str(error))
        except Exception:
            # A defect. It stops only this follower, until its claim expires.
            log.exception("serving failed", follower=follower_id)
