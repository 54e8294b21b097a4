"""`nija chaos`: breaks a whole system on purpose and checks that it keeps its promises."""

import asyncio
import json
import secrets
import sys
from typing import Annotated, Any

import stamina
import typer
from rich.console import Console
from rich.table import Table

from shared.brokers.registry import QUICK_EXAMPLE_BROKER, supported_brokers
from shared.config import ConfigurationError, parse_broker

ORDERS = 500
FEWEST_FOLLOWERS, MOST_FOLLOWERS = 5, 100
ORDERS_PER_FOLLOWER = 100
"""At least; trading continues for as long as there are faults to make."""


def chaos(
    seed: Annotated[int | None, typer.Option(help="Repeats the faults of a run; by default a new seed.")] = None,
    orders: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help=f"Copy orders to reach, all brokers together; by default {ORDERS}."),
    ] = None,
    brokers: Annotated[str | None, typer.Option(help="Only these, with commas between; by default all.")] = None,
    self_test: Annotated[
        bool, typer.Option("--self-test", help="Switch one protection off at a time: the run must report it.")
    ] = False,
    steps: Annotated[
        bool, typer.Option("--steps", help="Kill and pause at each step of the protocol in turn; by default at Kraken.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder, with ledger and logs.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Break the whole system on purpose, on paper brokers, and check that no order was doubled or lost.

    Processes are killed and paused, Redis and PostgreSQL too; Redis is emptied and set back; brokers answer late,
    wrongly or not at all. Exit code 0: every promise held; 1: one did not, and the report says which.
    """
    from services.chaos.plan import injections
    from services.chaos.run import Chaos, ChaosPlan
    from services.chaos.self_test import run_self_test
    from services.chaos.steps import run_steps

    if steps and self_test:
        raise ConfigurationError("--steps and --self-test are two runs: choose one of them")
    if orders is not None and (steps or self_test):
        given = "--steps" if steps else "--self-test"
        raise ConfigurationError(f"--orders: {given} makes as many orders as it needs; give one of the two")
    wanted = ORDERS if orders is None else orders

    chosen = [parse_broker(name.strip(), "--brokers") for name in brokers.split(",")] if brokers is not None else []
    # The protocol is the same at every broker.
    chosen = chosen or ([QUICK_EXAMPLE_BROKER] if steps else supported_brokers())
    number = secrets.randbelow(1_000_000) if seed is None else seed
    stamina.instrumentation.set_on_retry_hooks([])
    console = Console(stderr=as_json)

    def announce(line: str) -> None:
        console.print(f"  {line}", style="dim", markup=False, soft_wrap=True)

    announce(f"seed {number}")
    if self_test:
        result = asyncio.run(run_self_test(number, announce))
        sound = all(row["holds"] for row in result["protections"])
        if not as_json:
            console.print(_protections(result))
    elif steps:
        result = asyncio.run(run_steps(chosen, number, announce, keep=keep))
        sound = result["holds"]
        if not as_json:
            console.print(_steps(result))
    else:
        followers = max(FEWEST_FOLLOWERS, min(MOST_FOLLOWERS, wanted // (ORDERS_PER_FOLLOWER * len(chosen))))
        plan = ChaosPlan(chosen, followers, wanted, injections(number, wanted, chosen), number)
        result = asyncio.run(Chaos(plan, announce).run(keep=keep))
        sound = result["violations"] == 0
        if not as_json:
            console.print(_invariants(result))
    if as_json:
        sys.stdout.write(json.dumps(result) + "\n")
    if not sound:
        raise typer.Exit(1)


def _invariants(result: dict[str, Any]) -> Table:
    recovery = result["recovery_seconds"]
    table = Table(
        "promise",
        "violations",
        "for example",
        title=f"{result['orders']} copy orders, {sum(result['injected'].values())} faults, seed {result['seed']}",
        caption=f"recovery p50 {recovery['p50']} s, at most {recovery['max']} s",
    )
    for name, row in result["invariants"].items():
        table.add_row(name, str(row["violations"]), "\n".join(row["examples"]))
    return table


def _steps(result: dict[str, Any]) -> Table:
    columns = "broker", "process", "struck at", "with", "settled after", "outcome"
    table = Table(*columns, title=f"steps, seed {result['seed']}")
    for row in result["rows"]:
        seconds = f"{row['settled_in_seconds']} s"
        table.add_row(row["broker"], row["process"], row["step"], row["action"], seconds, row["outcome"])
    return table


def _protections(result: dict[str, Any]) -> Table:
    table = Table("switched off", "expected", "violations", "reported")
    for row in result["protections"]:
        table.add_row(row["off"], row["expected"], str(row["violations"]), "yes" if row["holds"] else "NO")
    return table
