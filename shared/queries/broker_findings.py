"""Decides what is wrong at one broker, from facts that other modules have read. Pure.

Waiting counts from when the stage that should end it was able to. So a start, or a restart after an hour, raises no
false alarm, and a stage in a crash loop hides nothing.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from shared.domain.accounts.master_state import MasterState
from shared.domain.accounts.reading_schedule import LATE_READING_SECONDS
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.messaging.alerts import AlertKind
from shared.messaging.keys import queue_name
from shared.messaging.stage_signs import Stage, StageState
from shared.queries.duration import duration
from shared.queries.findings import Finding, FindingKind
from shared.queries.pipeline_facts import MasterFacts, Pipeline, StageProcess
from shared.queries.stage_rules import LOOP_SECONDS, Presence, is_fresh, is_just_broken, trouble_seconds

MAIL_SECONDS: Final = 10.0
"""A worker with a free place takes due mail within a second, and ends what fills its places within its time box."""
FILL_SECONDS: Final = 10.0
"""The engine delivers a fill to 10,000 followers in some seconds."""
LEDGER_SECONDS: Final = 15.0
"""The bookkeeper works at low priority on purpose: the ledger may come some seconds later than the next order."""
TROUBLE_SECONDS: Final = 15.0
"""What is over sooner is a reconnect, or a start in which one process waits for another."""
LONGEST_POLL_AGE_SECONDS: Final = 60.0
"""A master account is polled every few seconds, and with the longest NIJA_MASTER_POLL_SECONDS every 30 s."""
LONGEST_POLL_AGE_WHILE_WAITING_SECONDS: Final = 15.0
"""A process that says that it waits is reported sooner. One lost answer of a broker is tried again at once."""
PRICES_SECONDS: Final = 30.0
"""Prices are listed every two seconds. A list that is older has missed many turns."""
ALERTS_SHOWN: Final = 5
_ALERTS: Final[Mapping[str, str]] = {
    AlertKind.UNKNOWN_ORDER: "an order has no clear outcome (`nija reconcile`)",
    AlertKind.WAITING_ORDER: "an order waits (`nija orders`)",
    AlertKind.UNREADABLE_MAIL: "its mail cannot be read",
    AlertKind.UNREADABLE_KEY: "its key cannot be read",
    AlertKind.UNLISTED_SYMBOL: "an exit cannot be sent",
    AlertKind.UNREADABLE_FOLLOWER: "it opens nothing, because its policy or account cannot be read",
    AlertKind.UNREADABLE_LISTING: "nothing is opened in it, because its listing cannot be read",
    AlertKind.UNPRICED_ASSET: "the master's opens are held",
    AlertKind.KEY_REFUSED: "keys are refused",
    AlertKind.MASTER_CHANGED: "another account is followed",
    AlertKind.TRADED_ACCOUNT: "the strategy does not trade",
    AlertKind.CLOCK: "the clocks differ",
    AlertKind.DRIFT: "drift (`nija reconcile`)",
}


def broker_findings(broker: Broker, pipeline: Pipeline, presence: Presence) -> Iterator[Finding]:
    """Everything that should not be so at this broker, but for single processes: see `process_findings`."""
    yield from service_findings(broker, pipeline, presence)
    yield from _bookkeeper_findings(broker, pipeline, presence)
    yield from _master_findings(broker, pipeline.master, presence)
    yield from _account_findings(broker, pipeline, presence)
    yield from _order_findings(broker, pipeline)
    yield from _alert_findings(broker, pipeline)


def service_findings(broker: Broker, pipeline: Pipeline, presence: Presence) -> Iterator[Finding]:
    """What keeps fills from reaching the followers' accounts: engine, mailboxes and workers."""
    for account, why in pipeline.halted.items():
        whose = "every master" if account == "*" else f"master {account}"
        yield Finding(
            kind=FindingKind.HALTED, broker=broker, subject=account, message=f"copying is halted for {whose}: {why}"
        )
    if presence.is_absent(Stage.COPY_ENGINE):
        yield _absent(
            broker,
            FindingKind.ENGINE_ABSENT,
            presence,
            Stage.COPY_ENGINE,
            "no copy engine is alive: fills are not copied",
        )
    unread = pipeline.unread_fill
    if unread is not None and not pipeline.halted:
        waited = min(unread.age_seconds, presence.working_seconds(Stage.COPY_ENGINE))
        if waited > FILL_SECONDS:
            yield Finding(
                kind=FindingKind.FILLS_UNREAD,
                broker=broker,
                subject=f"fill {unread.sequence}",
                message=(
                    f"the copy engine has not delivered fill {unread.sequence} for {duration(unread.age_seconds)}: "
                    "read the log of copy_engine"
                ),
            )
    if presence.is_absent(Stage.BROKER_WORKER):
        queue = queue_name(broker)
        yield _absent(
            broker,
            FindingKind.WORKER_ABSENT,
            presence,
            Stage.BROKER_WORKER,
            f"no live worker serves the queue {queue}: orders wait",
            subject=queue,
        )
    waited = min(pipeline.longest_wait_seconds, presence.working_seconds(Stage.BROKER_WORKER))
    if pipeline.due_mailboxes and waited > MAIL_SECONDS:
        mailboxes = "1 mailbox is" if pipeline.due_mailboxes == 1 else f"{pipeline.due_mailboxes} mailboxes are"
        yield Finding(
            kind=FindingKind.MAIL_WAITS,
            broker=broker,
            subject="mailboxes",
            message=(
                f"{mailboxes} due and not served, the first for {duration(pipeline.longest_wait_seconds)}: "
                "start a worker, or more workers"
            ),
        )


def _bookkeeper_findings(broker: Broker, pipeline: Pipeline, presence: Presence) -> Iterator[Finding]:
    if presence.is_absent(Stage.BOOKKEEPER):
        yield _absent(
            broker,
            FindingKind.BOOKKEEPER_ABSENT,
            presence,
            Stage.BOOKKEEPER,
            "no bookkeeper is alive: nothing reaches the ledger, and a restarted Redis is not restored",
        )
    lag = pipeline.oldest_event_age_seconds
    if lag is not None and min(lag, presence.working_seconds(Stage.BOOKKEEPER)) > LEDGER_SECONDS:
        yield Finding(
            kind=FindingKind.LEDGER_LAGS,
            broker=broker,
            subject="ledger",
            message=(
                f"{pipeline.events_not_in_ledger} events are not in the ledger, the first for {duration(lag)}: "
                "read the log of bookkeeper"
            ),
        )


def _absent(
    broker: Broker, kind: FindingKind, presence: Presence, stage: Stage, what: str, subject: str | None = None
) -> Finding:
    lived = (StageState.RUNNING, StageState.STOPPED)
    ages = [each.sign_age_seconds for each in presence.of(stage) if each.state in lived]
    last = f"; the last sign of life is {duration(min(ages))} old" if ages else ""
    message = f"{what}{last}. Start {stage.value}, or read its log"
    return Finding(kind=kind, broker=broker, subject=subject or stage.value, message=message)


def _master_findings(broker: Broker, master: MasterFacts | None, presence: Presence) -> Iterator[Finding]:
    stage = Stage.MASTER_TRADER
    if presence.is_absent(stage):
        what = "no master trader is alive: new fills of the master are not seen"
        yield _absent(broker, FindingKind.MASTER_ABSENT, presence, stage, what)
        return
    working_seconds = presence.working_seconds(stage)
    # What an earlier process has written says nothing of the present one, which has just started.
    is_present = master is not None and (master.updated_age_seconds or 0.0) <= presence.running_seconds(stage)
    state = master.state if master is not None and is_present else None
    why = master.last_error if master is not None and state is not None else None
    subject = master.account if master is not None else "master"
    if state == MasterState.FAILED.value:
        message = f"the master account cannot be watched: {why or 'read the log of master_trader'}"
        yield Finding(kind=FindingKind.MASTER_FAILED, broker=broker, subject=subject, message=message)
        return
    polled_seconds = None if master is None else master.last_poll_age_seconds
    waited = working_seconds if polled_seconds is None else min(polled_seconds, working_seconds)
    is_waiting = state == MasterState.WAITING.value
    if waited > (LONGEST_POLL_AGE_WHILE_WAITING_SECONDS if is_waiting else LONGEST_POLL_AGE_SECONDS):
        when = "was never polled" if polled_seconds is None else f"was last polled {duration(polled_seconds)} ago"
        because = f": {why}" if is_waiting and why else ". Read the log of master_trader"
        message = f"the master's account {when}{because}"
        yield Finding(kind=FindingKind.MASTER_NOT_POLLED, broker=broker, subject=subject, message=message)


def _account_findings(broker: Broker, pipeline: Pipeline, presence: Presence) -> Iterator[Finding]:
    """What makes the values of accounts old: prices that are not listed, and accounts that are not read."""
    age = pipeline.prices.age_seconds if pipeline.prices else None
    error = pipeline.prices.error if pipeline.prices else None
    listing_seconds = presence.working_seconds(Stage.MASTER_TRADER)
    if min(listing_seconds if age is None else age, listing_seconds) > PRICES_SECONDS:
        when = "were never listed" if age is None else f"were last listed {duration(age)} ago"
        because = f": {error}" if error else ". Read the log of master_trader"
        yield Finding(kind=FindingKind.PRICES_OLD, broker=broker, subject="prices", message=f"prices {when}{because}")
    oldest = pipeline.oldest_account_seconds
    if pipeline.late_accounts and presence.working_seconds(Stage.BROKER_WORKER) > LATE_READING_SECONDS:
        were = "1 account was" if pipeline.late_accounts == 1 else f"{pipeline.late_accounts} accounts were"
        yield Finding(
            kind=FindingKind.ACCOUNTS_NOT_READ,
            broker=broker,
            subject="accounts",
            message=(
                f"{were} not read for {duration(LATE_READING_SECONDS)}, the oldest for {duration(oldest)}: opens are "
                "skipped when a reading is too old (`nija accounts`)"
            ),
        )


def _order_findings(broker: Broker, pipeline: Pipeline) -> Iterator[Finding]:
    if pipeline.unknown_orders:
        have = "order has" if pipeline.unknown_orders == 1 else "orders have"
        yield Finding(
            kind=FindingKind.UNKNOWN_ORDERS,
            broker=broker,
            subject="orders",
            message=f"{pipeline.unknown_orders} {have} no clear outcome yet (`nija orders --unknown`)",
        )
    if pipeline.orders_looked_up:
        are = "order is" if pipeline.orders_looked_up == 1 else "orders are"
        yield Finding(
            kind=FindingKind.REPLAYED_ORDERS,
            broker=broker,
            subject="orders",
            message=f"{pipeline.orders_looked_up} {are} looked up at the broker after a restart of Redis (`nija orders`)",
        )
    if pipeline.dead_letters:
        count = "1 message" if pipeline.dead_letters == 1 else f"{pipeline.dead_letters} messages"
        yield Finding(
            kind=FindingKind.DEAD_LETTERS,
            broker=broker,
            subject="dead letters",
            message=f"{count} could not be read: see the dead letters (docs/operations.md)",
        )


def _alert_findings(broker: Broker, pipeline: Pipeline) -> Iterator[Finding]:
    for alert in pipeline.alerts[:ALERTS_SHOWN]:
        what = _ALERTS.get(alert.kind, alert.kind)
        message = f"{alert.follower_id}: {what}, since {alert.since:%Y-%m-%d %H:%M:%S} UTC: {alert.message}"
        yield Finding(kind=alert.kind, broker=broker, subject=alert.follower_id, message=message)
    if len(pipeline.alerts) > ALERTS_SHOWN:
        more = len(pipeline.alerts) - ALERTS_SHOWN
        yield Finding(
            kind=FindingKind.MORE_ALERTS,
            broker=broker,
            subject="alerts",
            message=f"{more} more {'alert waits' if more == 1 else 'alerts wait'} for an operator",
        )


def follower_findings(broker: Broker, followers: Mapping[str, int]) -> Iterator[Finding]:
    """What is wrong with the followers of a broker; `followers`: status → how many. A pause is no finding."""
    disabled = followers.get(FollowerStatus.DISABLED, 0)
    if disabled:
        yield Finding(
            kind=FindingKind.FOLLOWERS_DISABLED,
            broker=broker,
            subject="followers",
            message=f"{disabled} {'follower is' if disabled == 1 else 'followers are'} disabled (`nija followers list`)",
        )
    if not followers.get(FollowerStatus.ACTIVE):
        yield Finding(
            kind=FindingKind.NO_ACTIVE_FOLLOWER,
            broker=broker,
            subject="followers",
            message="nothing is copied: no follower is active",
        )


def process_findings(broker: Broker, presence: Presence) -> Iterator[Finding]:
    """What is wrong with single processes. A process that works for several brokers may be found at each of them."""
    for loop in presence.loops:
        yield Finding(
            kind=FindingKind.CRASH_LOOP,
            broker=broker,
            subject=f"{loop.stage.value}@{loop.host}",
            message=(
                f"{loop.stage.value} on {loop.host} ended unexpectedly {loop.ends} times in {duration(LOOP_SECONDS)}: "
                "it crashes again and again. Read its log"
            ),
        )
    newest: dict[tuple[Stage, str], StageProcess] = {}
    for each in sorted(presence.processes, key=lambda process: process.started_at):
        newest[each.stage, each.host] = each
        if is_fresh(each) and _is_troubled(each):
            yield _process_finding(FindingKind.STAGE_TROUBLE, broker, each, _trouble(each, presence.now))
    for last in newest.values():
        if last.state is StageState.FAILED and not presence.is_replaced(last.stage, last.host):
            yield _process_finding(FindingKind.START_FAILED, broker, last, f"cannot start: {last.trouble}")


def _process_finding(kind: FindingKind, broker: Broker, process: StageProcess, what: str) -> Finding:
    stage, host = process.stage.value, process.host
    return Finding(kind=kind, broker=broker, subject=f"{stage}@{host}", message=f"{stage} on {host} {what}")


def _is_troubled(process: StageProcess) -> bool:
    if process.state is StageState.BROKEN:
        return not is_just_broken(process)
    return trouble_seconds(process) >= TROUBLE_SECONDS


def _trouble(process: StageProcess, now: datetime) -> str:
    seconds = (now - process.trouble_since).total_seconds() if process.trouble_since else 0.0
    what = "has to be restarted" if process.state is StageState.BROKEN else "cannot do its work"
    return f"{what}, for {duration(seconds)}: {process.trouble}"
