"""`nija demo`: runs the whole system with trades on paper, and checks every copy.

Exit code 0: every copy arrived.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import stamina
import typer

from shared.brokers.registry import supported_brokers
from shared.config import parse_broker
from shared.exchange.candles import load_candles


def demo(
    followers: Annotated[int, typer.Option(min=1, max=20_000, help="How many plain followers copy each master.")] = 50,
    fills: Annotated[int, typer.Option(min=1, max=1_000, help="How many orders each master places.")] = 8,
    candles: Annotated[
        Path | None, typer.Option(help="Real prices for Bitcoin: a CSV file of one-minute candles, also .gz.")
    ] = None,
    broker: Annotated[
        list[str] | None, typer.Option("--broker", help="Only this broker; may be given several times.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the prices and of the followers' balances.")] = 7,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the data folder, with ledger and logs.")] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="Go on running after the result, with the API, until Ctrl-C.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")] = False,
) -> None:
    """Run the whole system on paper brokers: a person trades, the followers copy, every copy is checked.

    Real Redis, PostgreSQL, Celery workers and HTTP; nothing needs to be configured, no real account is touched.
    """
    from services.demo.figures import result_as_json
    from services.demo.run import Demo, DemoResult
    from services.demo.view import console_for, final_screen

    brokers = [parse_broker(name, "--broker") for name in broker or ()] or supported_brokers()
    if candles is not None:
        load_candles(candles)
    stamina.instrumentation.set_on_retry_hooks([])  # a process that was killed is announced by its supervisor
    console = console_for(json_output=as_json)
    run = Demo(brokers, followers=followers, orders=fills, candles=candles, seed=seed, console=console)

    def show(result: DemoResult) -> None:
        if as_json:
            sys.stdout.write(json.dumps(result_as_json(*result)) + "\n")
            sys.stdout.flush()
        else:
            console.print(final_screen(*result))

    result = asyncio.run(run.run(keep=keep, stay=show if stay else None))
    if not stay:
        show(result)
    figures, _ = result
    if not all(found.is_sound for found in figures.values()):
        raise typer.Exit(1)
