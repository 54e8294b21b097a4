"""Lists the steps of the protocol at which a process can be struck, each as a public function of a stage.

The steps of a copy order are not listed here. They come from `ORDER_STEPS`, so a new one is struck as well.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Final, Literal, NamedTuple

from services.bookkeeper.restore import Restore
from services.broker_worker.carry_out import Execution
from services.broker_worker.drain import Drain
from services.chaos.plan import Kind
from services.copy_engine.fan_out import FanOut
from services.copy_engine.read_fills import FillReader
from services.master_trader import publish
from shared.domain.copying.order_steps import (
    ORDER_STEPS,
    Cancel,
    CheckExit,
    CheckSend,
    LookUp,
    OrderStep,
    Read,
    ReadFunds,
    Send,
    Settle,
    Wait,
)
from shared.messaging.event_stream import EventStream
from shared.messaging.mailboxes import Mailboxes
from shared.persistence.ledger.ledger import Ledger
from shared.persistence.ledger.master_fills import MasterFills

Moment = Literal["before", "after"]


class Step(NamedTuple):
    """A boundary between two steps of one process. The step before it is complete, and the step after it has not begun."""

    process: str
    """The stage. A worker has two processes: `main`, which sweeps, and `child`, which serves followers."""
    name: str
    target: Callable[..., Any]
    """A public function of the stage, or a public method of one of its classes."""
    moment: Moment
    """Whether the process is struck when the call of the target begins, or when it has returned."""
    trigger: Kind | None = None
    """The failure that must be injected so that the process reaches the step."""
    order_step: type[OrderStep] | None = None
    """If set, only calls of the target that perform such a step of an order count."""


ORDER_STEP_TRIGGERS: Final[Mapping[type[OrderStep], Kind | None]] = {
    CheckSend: None,
    Send: None,
    LookUp: Kind.REPLY_LOST,
    Read: None,
    CheckExit: Kind.LATE_FILL,
    Wait: Kind.LATE_FILL,
    Settle: None,
}
"""The failure that leads to each step of an order. None: every order has the step."""
NOT_REACHED: Final[Mapping[type[OrderStep], str]] = {
    ReadFunds: "no failure takes the money of an account",
    Cancel: "only orders for the day are canceled, and the example broker has none",
}
"""The steps of an order that no run reaches, and why. The property test of the machine is interrupted there too."""


def order_boundaries(steps: Sequence[type[OrderStep]] = ORDER_STEPS) -> Iterator[Step]:
    """The boundaries of the steps of an order: before each step, and after each request to the account.

    A step for which nothing is said above raises KeyError.
    """
    for step in steps:
        if step in NOT_REACHED:
            continue
        trigger = ORDER_STEP_TRIGGERS[step]
        moments: tuple[Moment, ...] = ("before", "after") if step.asks_account else ("before",)
        for moment in moments:
            name = f"{moment} {step.__name__} of an order"
            yield Step("broker_worker child", name, Execution.perform, moment, trigger, step)


STEPS: tuple[Step, ...] = (
    Step("master_trader", "a fill is seen, not recorded", MasterFills.record, "before"),
    Step("master_trader", "recorded, not published", publish.publish_one, "before"),
    Step("master_trader", "published, not marked as published", publish.publish_one, "after"),
    Step("master_trader", "marked, the checkpoint not moved", MasterFills.mark_published, "after"),
    Step("copy_engine", "a fill is read, nothing planned", FanOut.deliver_fill, "before"),
    Step("copy_engine", "planned, not delivered", Mailboxes.deliver, "before"),
    Step("copy_engine", "delivered, not hinted", Mailboxes.deliver, "after"),
    Step("copy_engine", "hinted", FillReader.hint, "after"),
    Step("broker_worker child", "a hint is taken, no follower claimed", Drain.run, "before"),
    Step("broker_worker child", "claimed, not begun", Execution.run, "before"),
    *order_boundaries(),
    Step("broker_worker child", "settled, the next order not begun", Mailboxes.settle, "after"),
    Step("broker_worker child", "to be tried later, not released", Mailboxes.release, "before", Kind.LATE_FILL),
    Step("broker_worker child", "released", Mailboxes.release, "after", Kind.LATE_FILL),
    Step("broker_worker main", "before a sweep", Mailboxes.sweep, "before"),
    Step("broker_worker main", "swept, not hinted", Mailboxes.sweep, "after"),
    Step("bookkeeper", "events are read, not written", Ledger.write, "before"),
    Step("bookkeeper", "written, not acknowledged", Ledger.write, "after"),
    Step("bookkeeper", "acknowledged", EventStream.acknowledge, "after"),
    Step("bookkeeper", "Redis was emptied, nothing begun", Restore.begin, "before", Kind.EMPTY_REDIS),
    Step("bookkeeper", "a restore is begun", Restore.begin, "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "what Redis had is forgotten", Restore.forget, "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "positions are restored", Restore.put_positions, "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "mailboxes are restored", Restore.put_mailboxes, "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "fills are restored, Redis not in line", Restore.put_fills, "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "a restore is complete", Restore.complete, "after", Kind.EMPTY_REDIS),
)


def by_turns(steps: Sequence[Step] = STEPS) -> Iterator[Step]:
    """The steps in an order that gives a struck process time to come back before its next turn."""
    processes = dict.fromkeys(step.process for step in steps)
    columns = ([step for step in steps if step.process == process] for process in processes)
    for row in zip_longest(*columns):
        yield from (step for step in row if step is not None)
