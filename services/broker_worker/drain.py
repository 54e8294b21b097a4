"""Serves the ready followers of a broker in a fixed number of places, each held by one follower at a time.

The places belong to the process and not to a drain. When the time of a drain is over, followers in progress are still
served, and the next drain gets the other places.
"""

import asyncio
from collections.abc import Sequence

import structlog
from redis.exceptions import RedisError

from services.broker_worker.key_ring import KeyRing
from services.broker_worker.serve import Serving
from shared.domain.errors import NijaError
from shared.messaging.cancellation import end_tasks
from shared.messaging.mailboxes import Claim, ClaimedFollower, ClaimLost, Mailboxes
from shared.persistence.errors import BadSecretKey

CLAIM_PAUSE_SECONDS = 0.05
"""How long a drain with followers in progress waits before it claims more."""
GATHER_SECONDS = 0.01
NO_LEDGER_RETRY_MS = 2_000

log = structlog.get_logger()


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
        self._without_key: set[Claim] = set()
        """Claims in progress whose key is not read yet."""

    async def run(self) -> None:
        """Serve until no follower is ready or in progress, the time box is over, or the process is to stop.

        When it is cancelled, the followers whose keys are not read yet are given back.
        """
        try:
            await self._run()
        except asyncio.CancelledError:
            await end_tasks(*(task for task, claim in self._under_way.items() if claim in self._without_key))
            raise

    async def _run(self) -> None:
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
        try:
            # Shielded: if the reply were lost, the claimed followers would not be served until their claims expire.
            version, claimed = await asyncio.shield(claiming)
        except asyncio.CancelledError:
            for follower in (await claiming)[1]:
                await self._mailboxes.release(follower.claim)
            raise
        self._key_ring.prepare(version, [each.claim.follower_id for each in claimed])
        for follower in claimed:
            task = asyncio.create_task(self._serve(follower))
            self._under_way[task] = follower.claim
            self._without_key.add(follower.claim)
            task.add_done_callback(self._under_way.pop)
        return claimed

    async def _serve(self, claimed: ClaimedFollower) -> None:
        follower_id = claimed.claim.follower_id
        try:
            try:
                key = await self._key_ring.key(follower_id)
            except NijaError as error:
                log.warning("key not read", follower=follower_id, error=str(error))
                await self._mailboxes.release(claimed.claim, ready_in_ms=NO_LEDGER_RETRY_MS)
                return
            except asyncio.CancelledError:
                await self._mailboxes.release(claimed.claim)
                raise
            finally:
                self._without_key.discard(claimed.claim)
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
