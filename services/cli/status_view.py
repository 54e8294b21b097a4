"""Prints the result of `nija status` as text and tables for people."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.table import Table

from services.cli import output
from services.cli.traders_view import show_traders
from shared.domain.amounts import plain
from shared.domain.stop import StopState
from shared.messaging.stage_signs import Stage
from shared.queries.capital_findings import CapitalFacts, action_text, shown_percent
from shared.queries.findings import Finding
from shared.queries.pipeline_facts import Pipeline
from shared.queries.stage_rules import is_fresh
from shared.queries.status import BrokerStatus, LedgerFacts, ProcessFacts, SystemStatus


def print_status(status: SystemStatus, findings: Sequence[Finding]) -> None:
    """Print the run, the processes, each broker, and the findings last."""
    say = output.console.print
    if status.run is not None:
        run = status.run
        mode = "on paper" if run.paper else "live"
        age = output.duration((status.asked_at - run.since).total_seconds())
        say(f"nija runs {mode} on {status.home} for {age}: process {run.pid}, `{run.command}`\n")
    elif not status.unreachable:
        say(f"no nija runs on {status.home}; this is what REDIS_URL and DATABASE_URL say\n")
    if status.processes:
        output.show(_processes(status.processes))
    for broker in status.brokers:
        output.show(_broker(broker, [each for each in status.capital if each.broker is broker.broker]))
    if status.traders is not None:
        show_traders(status.traders)
    for finding in findings:
        say(f"✗ {finding.line}", style="red")
    if not findings:
        say("nija is starting" if status.unreachable else "everything is well", style="green")


def _processes(processes: tuple[ProcessFacts, ...]) -> Table:
    shown = output.table()
    output.text_columns(shown, "process")
    output.number_columns(shown, "pid")
    output.text_columns(shown, "state")
    output.number_columns(shown, "restarts", "runs for", "last beat")
    now = datetime.now(UTC)
    for process in processes:
        beat = process.heartbeat_age_seconds
        started = process.started_at
        shown.add_row(
            process.name,
            "–" if process.pid is None else str(process.pid),
            process.state,
            str(process.restarts),
            "–" if started is None else output.duration((now - started).total_seconds()),
            "–" if beat is None else f"{output.duration(beat)} ago",
        )
    return shown


def _broker(status: BrokerStatus, capital: Sequence[CapitalFacts]) -> Table:
    shown = output.table(status.broker.value, header=False)
    shown.add_column(no_wrap=True, overflow="fold")
    output.text_columns(shown, "")
    if status.pipeline is not None:
        for name, value in _pipeline(status.pipeline):
            shown.add_row(name, value)
    if status.ledger is not None:
        for name, value in _ledger(status.ledger):
            shown.add_row(name, value)
    for name, value in _capital(capital):
        shown.add_row(name, value)
    return shown


def _capital(capital: Sequence[CapitalFacts]) -> Iterator[tuple[str, str]]:
    for each in capital:
        zone = (
            ""
            if each.zone is None
            else f"{each.zone.value}, {shown_percent(each.margin_used_pct)} of the margin used, "
        )
        yield f"capital of {each.account}", f"{zone}{shown_percent(each.drawdown_pct)} below the peak"
        if each.last_action is not None:
            yield "last automatic action", action_text(each.last_action)


def _pipeline(pipeline: Pipeline) -> Iterator[tuple[str, str]]:
    master = pipeline.master
    if master is None:
        yield "master", "not watched yet"
    else:
        looked = master.last_poll_age_seconds
        seen = "not polled yet" if looked is None else f"last polled {output.duration(looked)} ago"
        equity = "" if master.equity is None else f"; equity {plain(master.equity)} USD"
        yield "master", f"{master.account}: {master.state}, {seen}{equity}"
        if master.consecutive_errors:
            yield "errors", f"{master.consecutive_errors} in a row, the last one: {master.last_error}"
    wait = f", the first for {output.duration(pipeline.longest_wait_seconds)}" if pipeline.longest_wait_seconds else ""
    yield "followers' mail", output.counted(pipeline.orders_waiting, "order")
    yield "followers", f"{pipeline.ready_followers} ready{wait}; {pipeline.claimed_followers} being served"
    yield "queue", output.counted(pipeline.queued_hints, "hint")
    yield "alive", _alive(pipeline)
    looked_up = f", {pipeline.orders_looked_up} being looked up" if pipeline.orders_looked_up else ""
    yield "unknown orders", f"{pipeline.unknown_orders}{looked_up}"
    yield "alerts", str(len(pipeline.alerts))
    yield "not in the ledger", output.counted(pipeline.events_not_in_ledger, "event")
    yield "stopped", _stopped(pipeline.stop)
    yield "halted", "; ".join(f"{account}: {why}" for account, why in pipeline.halted.items()) or "no"


def _stopped(stop: StopState | None) -> str:
    if stop is None:
        return "not known"
    followers = [f"{follower_id} ({mode.value})" for follower_id, mode in sorted(stop.follower_modes.items())]
    return ", ".join([*([stop.broker_mode.value] if stop.broker_mode else []), *followers]) or "no"


def _alive(pipeline: Pipeline) -> str:
    """The number of processes of each stage that gave a sign of life within the last seconds."""
    alive = Counter(each.stage for each in pipeline.stages if is_fresh(each))
    return ", ".join(f"{alive[stage]} {stage.value}" for stage in Stage)


def _ledger(ledger: LedgerFacts) -> Iterator[tuple[str, str]]:
    counts = ", ".join(f"{count} {status}" for status, count in ledger.followers.items())
    yield "followers by status", counts or "none yet"
    fill = ledger.last_fill
    if fill is None:
        yield "last fill", "none yet"
        return
    when = f"{output.moment(fill.executed_at)} {datetime.now().astimezone():%Z}"
    what = f"{fill.side} {plain(fill.quantity)} {fill.symbol} at {plain(fill.price)}"
    yield "last fill", f"{fill.sequence}: {what}, {when}"
    yield (
        "its followers",
        f"{fill.copied} copied, {fill.skipped} skipped, {fill.failed} failed, {fill.pending} pending",
    )
