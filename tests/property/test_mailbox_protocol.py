"""Tests the mailbox protocol on a real Redis, in any order of the steps of engines and workers.

Every step is one Lua script, so any interleaving of processes is a sequence of steps. Three faults are modelled:

- A pause beyond the claim: a worker has a claim of one millisecond and continues after a sweep.
- A crash: the worker never acts again.
- A lost reply: the same call is made twice with the same arguments.
"""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, initialize, invariant, multiple, rule, run_state_machine_as_test

from shared.domain.amounts import ZERO
from shared.domain.identity import CopyOrderId
from shared.messaging.mailboxes import ClaimLost, Submission
from tests.property.mailbox_model import KEYS, LONG_MS, MOMENT, Holder, MailboxModel


class MailboxProtocol(MailboxModel):
    """Engines, workers and a clock act in any order. The state of Redis is checked after every step."""

    holders = Bundle("holders")

    @initialize()
    def empty(self) -> None:
        """Each run begins with an empty Redis and some mail."""
        self.wait_for(self.redis.flushdb())
        self.engine_delivers(shard=0, names=["alice", "bob"], reply_lost=False)
        self.engine_delivers(shard=0, names=["alice"], reply_lost=False)

    # ---- engines

    @rule(
        shard_and_names=st.sampled_from(
            [(0, ["alice"]), (0, ["bob"]), (0, ["alice", "bob"]), (1, ["carol"]), (1, [])],
        ),
        reply_lost=st.booleans(),
    )
    def engine_comes(self, shard_and_names: tuple[int, list[str]], reply_lost: bool) -> None:
        """Deliver the next fill to some followers of a shard."""
        self.engine_delivers(*shard_and_names, reply_lost=reply_lost)

    # ---- workers

    @rule(target=holders, limit=st.integers(1, 3), is_short=st.booleans())
    def worker_claims(self, limit: int, is_short: bool) -> Any:
        """A hint arrived. It may be a second hint for the same mail."""
        mailboxes = self.short if is_short else self.long
        _, claimed = self.wait_for(mailboxes.claim(limit))
        return multiple(*[self.hold(follower, mailboxes, is_short=is_short) for follower in claimed])

    @rule(holder=holders, reply_lost=st.booleans(), stage=st.sampled_from(["submitting", "unknown", "accepted"]))
    def worker_records(self, holder: Holder, reply_lost: bool, stage: Any) -> None:
        """A worker that holds the claim records once. Without the claim, nothing is recorded."""
        box = self.boxes[holder.follower]
        after = Submission(
            copy_order_id=CopyOrderId(box.pending[0] if box.pending else "0" * 32),
            stage=stage,
            attempt=(holder.submission.attempt if holder.submission else 0) + 1,
            quantity=Decimal("0.1"),
            claimed_at=MOMENT,
            submitted_at=MOMENT,
            valid_until=MOMENT,
        )
        for _ in range(1 + reply_lost):
            if box.owner is holder:
                events = self.wait_for(self.redis.xlen(KEYS.events))
                self.wait_for(holder.mailboxes.record(holder.claim, box.submission, after, b"recorded"))
                added = self.wait_for(self.redis.xlen(KEYS.events)) - events
                assert added == (0 if box.submission == after else 1)
                holder.submission = box.submission = after
            else:
                with pytest.raises(ClaimLost):
                    self.wait_for(holder.mailboxes.record(holder.claim, holder.submission, after, b"never"))

    @rule(holder=holders)
    def worker_records_on_what_is_not_there(self, holder: Holder) -> None:
        """A worker that expects another submission than the one in Redis records nothing."""
        box = self.boxes[holder.follower]
        wrong = Submission(
            copy_order_id=CopyOrderId("f" * 32),
            stage="submitting",
            attempt=99,
            quantity=ZERO,
            claimed_at=MOMENT,
            submitted_at=MOMENT,
            valid_until=MOMENT,
        )
        with pytest.raises(ClaimLost):
            self.wait_for(holder.mailboxes.record(holder.claim, wrong, wrong.model_copy(update={"attempt": 100})))
        assert self.wait_for(holder.mailboxes.renew([holder.claim])) == (
            [] if box.owner is holder else [holder.follower]
        )

    @rule(holder=holders, reply_lost=st.booleans())
    def worker_settles(self, holder: Holder, reply_lost: bool) -> None:
        """The head is removed with one final event. Then the next order is the head, or the follower is released."""
        box = self.boxes[holder.follower]
        for attempt in range(1 + reply_lost):
            if attempt or box.owner is not holder or holder.head_is_settled:
                with pytest.raises(ClaimLost):
                    self.settle(box, holder, holder.order_id)
                continue
            reached = self.settle(box, holder, holder.order_id)
            if reply_lost:  # The worker does not know the new head, so it repeats the call and then stops.
                holder.head_is_settled = True
                box.owner = holder if box.pending else None
            else:
                self.go_on(box, holder, reached)

    @rule(
        holder=holders,
        ready_in_ms=st.sampled_from([0, 0, LONG_MS]),
        forget=st.booleans(),
        reply_lost=st.booleans(),
    )
    def worker_releases(self, holder: Holder, ready_in_ms: int, forget: bool, reply_lost: bool) -> None:
        """The holder of the claim releases it, and the follower is ready now or later. A stale release changes nothing."""
        box = self.boxes[holder.follower]
        before = self.state()
        for _ in range(1 + reply_lost):
            release = holder.mailboxes.release(holder.claim, ready_in_ms=ready_in_ms, forget_submission=forget)
            self.wait_for(release)
        if box.owner is holder:
            box.owner = None
            box.is_later = bool(box.pending) and ready_in_ms > 0
            box.submission = None if forget else box.submission
        else:
            assert self.state() == before

    @rule(holder=consumes(holders))
    def worker_crashes(self, holder: Holder) -> None:
        """The worker never acts again, and its claim remains."""

    @rule(reads=st.integers(0, 2))
    def sweep(self, reads: int) -> None:
        """Short claims have expired by now. A second sweep, right after the first, finds no more of them."""
        self.let_a_millisecond_pass()
        expected = [box for box in self.boxes.values() if box.owner is not None and box.owner.is_short]
        swept = self.sweep_once(reads)
        assert swept.expired == len(expected)
        for box in expected:
            box.owner = None
        assert self.sweep_once(reads).expired == 0

    @rule()
    def later_comes(self) -> None:
        """The due time of followers that were released for later has come."""
        for box in self.boxes.values():
            box.is_later = False
        for follower in self.wait_for(self.redis.zrange(KEYS.ready, 0, -1)):
            self.wait_for(self.redis.zadd(KEYS.ready, {follower: 0}, xx=True))

    @rule(count=st.integers(1, 10**6))
    def something_else_happens(self, count: int) -> None:
        """An old engine continues, Redis loses a counter, and a process signs requests."""
        self.engine_that_lost_its_shard_delivers()
        self.redis_loses_the_fence_counter()
        self.nonces_grow(count)
        self.nonces_grow(1)

    # ---- laws

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        """Compare Redis with the expected state after every step."""
        state = self.state()
        ready, claimed = set(state["ready"]), set(state["claims"])
        assert len(state["ready"]) == len(ready)
        assert not ready & claimed
        assert claimed == set(state["fences"])
        for follower, box in self.boxes.items():
            name = follower.encode()
            assert (name in claimed) == (box.owner is not None)
            if box.owner is not None:
                assert state["fences"][name] == box.owner.claim.fence
            assert (name in ready) == (bool(box.pending) and box.owner is None)
            assert [order.encode() in text for order, text in zip(box.pending, state[follower], strict=True)] == [
                True
            ] * len(box.pending)
            assert (name in state["submitting"]) == (box.submission is not None)
        for shard, position in self.positions.items():
            assert state["shards"].get(str(shard).encode(), b"") == position
        self.check_final_events(state)

    def teardown(self) -> None:
        """After all workers crashed, a single new worker finds all pending orders, in order."""
        try:
            self.recover()
        finally:
            self.wait_for(self.redis.aclose())
            self.runner.close()

    def recover(self) -> None:
        for follower in self.wait_for(self.redis.zrange(KEYS.claims, 0, -1)):
            self.wait_for(self.redis.zadd(KEYS.claims, {follower: 0}))
        self.sweep_once(0)
        for box in self.boxes.values():
            box.owner = None
        self.later_comes()
        while claimed := self.wait_for(self.long.claim(3))[1]:
            for follower in claimed:
                holder = self.hold(follower, self.long, is_short=False)
                while self.boxes[holder.follower].owner is holder:
                    self.go_on(
                        self.boxes[holder.follower],
                        holder,
                        self.settle(self.boxes[holder.follower], holder, holder.order_id),
                    )
        assert {f: box.settled for f, box in self.boxes.items()} == {f: box.delivered for f, box in self.boxes.items()}
        self.everything_is_as_it_should_be()


MACHINE_SETTINGS = settings(
    max_examples=50,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def test_the_protocol_keeps_its_laws(each_redis_url: str) -> None:
    """Orders stay complete and in sequence, a follower has one claim, no wake-up is lost, and fences grow.

    This holds on every supported version of Redis.
    """
    machine = type("MailboxProtocolThere", (MailboxProtocol,), {"redis_url": each_redis_url})
    run_state_machine_as_test(machine, settings=MACHINE_SETTINGS)
