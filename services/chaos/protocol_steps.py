"""Lists the steps of the protocol at which a process can be struck, and where in the code each begins or ends."""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Literal, NamedTuple

from services.chaos.plan import Kind


class Step(NamedTuple):
    """A boundary between two steps of one process. The step before it is complete, and the step after it has not begun."""

    process: str
    """The stage. A worker has two processes: `main`, which sweeps, and `child`, which serves followers."""
    name: str
    target: str
    """`module:name` or `module:Class.name` of a function of the stage."""
    moment: Literal["before", "after"]
    """Whether the process is struck when the call of the target begins, or when it has returned."""
    trigger: Kind | None = None
    """The failure that must be injected so that the process reaches the step."""


_PUBLISH = "services.master_trader.publish"
_FILLS = "shared.persistence.ledger.master_fills:MasterFills"
_MAILBOXES = "shared.messaging.mailboxes:Mailboxes"
_EXECUTION = "services.broker_worker.carry_out:Execution"
_RESTORE = "services.bookkeeper.restore:Restore"

STEPS: tuple[Step, ...] = (
    Step("master_trader", "a fill is seen, not recorded", f"{_FILLS}.record", "before"),
    Step("master_trader", "recorded, not published", f"{_PUBLISH}:publish_one", "before"),
    Step("master_trader", "published, not marked as published", f"{_PUBLISH}:publish_one", "after"),
    Step("master_trader", "marked, the checkpoint not moved", f"{_FILLS}.mark_published", "after"),
    Step(
        "copy_engine", "a fill is read, nothing planned", "services.copy_engine.fan_out:FanOut.deliver_fill", "before"
    ),
    Step("copy_engine", "planned, not delivered", f"{_MAILBOXES}.deliver", "before"),
    Step("copy_engine", "delivered, not hinted", f"{_MAILBOXES}.deliver", "after"),
    Step("copy_engine", "hinted", "services.copy_engine.read_fills:FillReader.hint", "after"),
    Step(
        "broker_worker child",
        "a hint is taken, no follower claimed",
        "services.broker_worker.drain:Drain.run",
        "before",
    ),
    Step("broker_worker child", "claimed, not begun", f"{_EXECUTION}.run", "before"),
    Step("broker_worker child", "submitting is recorded, not sent", f"{_EXECUTION}._begin", "after"),
    Step("broker_worker child", "sent, the answer not recorded", f"{_EXECUTION}._read_order", "before"),
    Step("broker_worker child", "accepted is recorded, not final", f"{_EXECUTION}._wait_for", "after", Kind.LATE_FILL),
    Step("broker_worker child", "final, not settled", f"{_MAILBOXES}.settle", "before"),
    Step("broker_worker child", "settled, the next order not begun", f"{_MAILBOXES}.settle", "after"),
    Step("broker_worker child", "unknown, not looked up", f"{_EXECUTION}._look_up", "before", Kind.REPLY_LOST),
    Step("broker_worker child", "looked up, nothing recorded", f"{_EXECUTION}._look_up", "after", Kind.REPLY_LOST),
    Step("broker_worker child", "to be tried later, not released", f"{_MAILBOXES}.release", "before", Kind.LATE_FILL),
    Step("broker_worker child", "released", f"{_MAILBOXES}.release", "after", Kind.LATE_FILL),
    Step("broker_worker main", "before a sweep", f"{_MAILBOXES}.sweep", "before"),
    Step("broker_worker main", "swept, not hinted", f"{_MAILBOXES}.sweep", "after"),
    Step("bookkeeper", "events are read, not written", "shared.persistence.ledger.ledger:Ledger.write", "before"),
    Step("bookkeeper", "written, not acknowledged", "shared.persistence.ledger.ledger:Ledger.write", "after"),
    Step("bookkeeper", "acknowledged", "shared.messaging.event_stream:EventStream.acknowledge", "after"),
    Step("bookkeeper", "Redis was emptied, nothing begun", f"{_RESTORE}.begin", "before", Kind.EMPTY_REDIS),
    Step("bookkeeper", "a restore is begun", f"{_RESTORE}.begin", "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "what Redis had is forgotten", f"{_RESTORE}.forget", "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "positions are restored", f"{_RESTORE}.put_positions", "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "mailboxes are restored", f"{_RESTORE}.put_mailboxes", "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "fills are restored, Redis not in line", f"{_RESTORE}.put_fills", "after", Kind.EMPTY_REDIS),
    Step("bookkeeper", "a restore is complete", f"{_RESTORE}.complete", "after", Kind.EMPTY_REDIS),
)


def by_turns(steps: Sequence[Step] = STEPS) -> Iterator[Step]:
    """The steps in an order that gives a struck process time to come back before its next turn."""
    processes = dict.fromkeys(step.process for step in steps)
    columns = ([step for step in steps if step.process == process] for process in processes)
    for row in zip_longest(*columns):
        yield from (step for step in row if step is not None)
