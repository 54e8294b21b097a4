"""`nija brokers`: shows health, equity, queues, fees and followers of every broker."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated

import typer

from services.cli import output
from services.cli.accounts import dollars, in_cents
from services.cli.arguments import chosen_broker
from services.local_system.record import settings_of_running_system
from shared.config import load_settings
from shared.config.operator import open_connections
from shared.queries.broker_facts import BrokerFacts
from shared.queries.brokers import read_brokers

_PERCENT = Decimal(100)


def brokers(
    broker: Annotated[str | None, typer.Option("--broker", "-b", help="Only this broker.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list.")] = False,
) -> None:
    """Show each broker: connected, served, funded, equity, health, queue, circuit, rate limits, fees and followers.

    Connected: the master's account was polled lately. Served: an engine and a worker are alive, and nothing waits for
    them. Funded: it is worth 10 US dollars or more. Round trip: what buying and selling costs, with the spread; worth
    it from: the price change from which on a trade pays. Exit code 1 when something is found; the last lines say what.
    """
    where = chosen_broker(broker)
    with output.progress("asking"):
        settings = settings_of_running_system(load_settings())
        with open_connections(settings, redis=True, check=False) as connections:
            found = read_brokers(connections, settings.enabled_brokers(), where)
    findings = [finding for facts in found for finding in facts.findings()]
    if as_json:
        output.print_json([facts.model_dump(mode="json") for facts in found])
    else:
        _print(found)
        for finding in findings:
            output.console.print(finding.line)
    if findings:
        raise typer.Exit(1)


def _print(found: Sequence[BrokerFacts]) -> None:
    if not found:
        output.console.print(
            "no broker is enabled, and there are no followers: set a master account's key, or NIJA_BROKERS"
        )
        return
    worth = output.table("brokers, US dollars")
    output.text_columns(worth, "broker", "health", "connected", "funded")
    output.number_columns(worth, "equity", "cash", "held", "positions")
    work = output.table("queues")
    output.text_columns(work, "broker")
    output.number_columns(work, "mail", "ready", "claimed", "hints")
    output.text_columns(work, "served", "circuit", "limits used", "followers")
    for facts in found:
        equity, queue = facts.equity, facts.queue
        split = in_cents(equity.total, equity.cash, equity.held, equity.positions) if equity else None
        depths = (queue.mail, queue.ready, queue.claimed, queue.hints) if queue else None
        worth.add_row(
            facts.broker.value,
            facts.health.value,
            "yes" if facts.connected else "no",
            "yes" if facts.funded else "no",
            *(map(dollars, split) if split else ("–",) * 4),
        )
        work.add_row(
            facts.broker.value,
            *(map(str, depths) if depths else ("–",) * 4),
            "yes" if facts.served else "no",
            "–" if facts.circuit is None else "open" if facts.circuit.open else "closed",
            ", ".join(f"{limit.name} {limit.highest_used:.0%}" for limit in facts.rate_limits) or "–",
            _followers(facts),
        )
    output.show(worth)
    output.show(work)
    fees = output.table("fees, % of the notional")
    output.text_columns(fees, "broker")
    output.number_columns(fees, "taker", "maker", "round trip", "worth it from")
    output.text_columns(fees, "source")
    for facts in found:
        rates = (facts.fees.taker, facts.fees.maker, facts.fees.round_trip, facts.fees.smallest_worthwhile_profit)
        fees.add_row(
            facts.broker.value,
            *(f"{(rate * _PERCENT).normalize():f}" for rate in rates),
            "the account's own" if facts.fees.live else "default",
        )
    output.show(fees)


def _followers(facts: BrokerFacts) -> str:
    if facts.followers is None:
        return "–"
    return ", ".join(f"{count} {status}" for status, count in facts.followers.items()) or "none"
