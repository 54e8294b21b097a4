"""Runs a stage with one protection switched off: `python -m services.chaos.without NAME MODULE [ARGUMENT …]`.

It serves only the self-test of `nija chaos`. The stages themselves have no such switch. They are changed from outside,
in a process that was started for this purpose.
"""

import asyncio
import runpy
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha1
from itertools import count
from typing import Any

ASLEEP_SECONDS = 30.0
"""Longer than a claim, the validity of a request and the margin of look-ups together."""
BETWEEN_TWO_STEPS_SECONDS = 0.7
"""Longer than the time between the master's orders."""
FAR_AWAY = timedelta(days=1)


def _nothing() -> None:
    """The control for protections that need no pause: nothing is changed, but the stage is started in the same way."""


def _pauses() -> None:
    """The control for fence and expiry: orders are delayed, and claims are not renewed, as in a paused process.

    In each worker child, the first order sleeps before it is recorded as submitting. The second order sleeps after that
    and before it leaves.
    """
    from services.broker_worker.carry_out import Execution
    from services.broker_worker.drain import Drain
    from shared.brokers.kraken.account import KrakenAccount

    begun, sent = count(), count()

    def sleeping(call: Callable[..., Awaitable[Any]], numbers: Any, asleep: int) -> Callable[..., Awaitable[Any]]:
        async def slowly(*arguments: Any) -> Any:
            if next(numbers) == asleep:
                await asyncio.sleep(ASLEEP_SECONDS)
            return await call(*arguments)

        return slowly

    async def renew_nothing(_drain: Any, _every_seconds: float) -> None:
        await asyncio.Event().wait()

    setattr(Execution, "run", sleeping(Execution.run, begun, 0))  # noqa: B010  not assignments: mypy refuses them
    setattr(KrakenAccount, "place", sleeping(KrakenAccount.place, sent, 1))  # noqa: B010
    setattr(Drain, "renew_claims", renew_nothing)  # noqa: B010


def _fence() -> None:
    """A worker that lost its claim can still record, settle and release."""
    _pauses()
    for name in ("record", "settle", "release"):
        _cut(name, "if redis.call('HGET', fences, follower) ~= fencing_number then return")


def _request_expiry() -> None:
    """The broker receives a request that is valid for another day."""
    _pauses()
    from shared.brokers.kraken.account import KrakenAccount

    place: Any = KrakenAccount.place

    async def place_whenever(account: Any, order: Any) -> Any:
        return await place(account, order.model_copy(update={"valid_until": order.valid_until + FAR_AWAY}))

    setattr(KrakenAccount, "place", place_whenever)  # noqa: B010


def _cut(name: str, beginning: str) -> None:
    """Remove the one line that has this beginning from a Lua script."""
    from shared.messaging.scripts import script

    changed = script(name)
    lines = changed.text.splitlines()
    kept = [line for line in lines if not line.startswith(beginning)]
    if len(kept) != len(lines) - 1:
        raise RuntimeError(f"what should be switched off is not in {name}.lua any more: {beginning}")
    changed.text = "\n".join(kept) + "\n"
    changed.sha = sha1(changed.text.encode(), usedforsecurity=False).hexdigest()


def _look_up() -> None:
    """An order of unknown outcome is sent again without a look-up at the broker."""
    from services.broker_worker.carry_out import Execution
    from shared.domain.copying.order_machine import OrderMachine
    from shared.domain.copying.order_observations import Absent
    from shared.domain.copying.order_steps import LookUp

    perform: Any = Execution.perform

    async def find_nothing(execution: Any, step: Any) -> Any:
        return Absent() if isinstance(step, LookUp) else await perform(execution, step)

    def always_decide(_machine: Any, _attempt: Any) -> datetime:
        return datetime.min.replace(tzinfo=UTC)

    setattr(Execution, "perform", find_nothing)  # noqa: B010
    setattr(OrderMachine, "window_ends", always_decide)  # noqa: B010


def _atomic_release() -> None:
    """A worker first decides whether the mailbox is empty, and releases the follower a moment later."""
    from shared.messaging.mailboxes import Mailboxes, NextHead

    settle: Any = Mailboxes.settle

    async def settle_in_two_steps(mailboxes: Any, claim: Any, *arguments: Any) -> Any:
        redis, keys = mailboxes._scripts._redis, mailboxes._keys  # noqa: SLF001  changed from outside, on purpose
        is_last = await redis.llen(keys.mailbox(claim.follower_id)) == 1
        await asyncio.sleep(BETWEEN_TWO_STEPS_SECONDS)
        reached = await settle(mailboxes, claim, *arguments)
        if not (is_last and reached.head):
            return reached
        await redis.zrem(keys.claims, claim.follower_id)
        await redis.hdel(keys.fences, claim.follower_id)
        return NextHead(head=b"", positions={})

    setattr(Mailboxes, "settle", settle_in_two_steps)  # noqa: B010


def _deduplicated_delivery() -> None:
    """Every engine believes that it owns every shard, and `deliver` does not compare positions."""
    from services.copy_engine.shards import Shards

    _cut("deliver", "if position ~= expected_position then return -1 end")

    async def own_all(shards: Any) -> None:
        if len(shards.positions) < shards.count:
            stored = await shards._redis.hgetall(shards._keys.shards)  # noqa: SLF001  as above
            shards.positions = {number: stored.get(str(number).encode(), b"") for number in range(shards.count)}

    setattr(Shards, "balance", own_all)  # noqa: B010


def _copied_position() -> None:
    """An exit sells a share of what the account holds, coins of its own included, and not of what was copied."""
    from services.broker_worker import order_size

    exit_quantity: Any = vars(order_size)["exit_quantity"]

    def of_twice_as_much(fraction: Any, position: Any, *arguments: Any) -> Any:
        twice = position.model_copy(update={"quantity": 2 * position.quantity})
        return exit_quantity(fraction, twice, *arguments)

    setattr(order_size, "exit_quantity", of_twice_as_much)  # noqa: B010


def _free_cash() -> None:
    """An open is not cut to the free cash, so the broker refuses it."""
    from services.broker_worker import order_size

    cut_open: Any = vars(order_size)["cut_open"]

    def uncut(quantity: Any, instrument: Any, _free: Any, *arguments: Any) -> Any:
        return cut_open(quantity, instrument, None, *arguments)

    setattr(order_size, "cut_open", uncut)  # noqa: B010


PROTECTIONS = {
    "nothing": _nothing,
    "nothing, undisturbed": _nothing,
    "look-up": _look_up,
    "atomic release": _atomic_release,
    "deduplicated delivery": _deduplicated_delivery,
    "nothing, with pauses": _pauses,
    "fence": _fence,
    "request expiry": _request_expiry,
    "copied position": _copied_position,
    "free cash": _free_cash,
}


def main() -> None:
    """Switch the protection off, then run the module as if it had been started directly."""
    _, protection, module, *arguments = sys.argv
    PROTECTIONS[protection]()
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
