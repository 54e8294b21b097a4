"""`nija demo`: runs the whole system with trades on paper, and checks every copy.

Exit code 0: every copy arrived, and the backtest decides as the strategy did, if it traded.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import stamina
import typer

from services.cli.moments import parse_moment
from shared.brokers.registry import supported_brokers
from shared.config import ConfigurationError, parse_broker
from shared.domain.identity import Broker
from shared.exchange.candles import load_candles

_FOLLOWERS, _STRATEGY_FOLLOWERS, _ORDERS = 50, 10, 8


def demo(
    followers: Annotated[
        int | None,
        typer.Option(
            min=1, max=20_000, show_default="50", help="How many plain followers copy each master; 10 with --strategy."
        ),
    ] = None,
    fills: Annotated[
        int | None, typer.Option(min=1, max=1_000, show_default="8", help="How many orders each master places.")
    ] = None,
    candles: Annotated[
        Path | None, typer.Option(help="Real prices for Bitcoin: a CSV file of one-minute candles, also .gz.")
    ] = None,
    strategy: Annotated[
        bool, typer.Option("--strategy", help="Let the strategy trade on the candles, instead of a person.")
    ] = False,
    since: Annotated[
        str | None, typer.Option("--from", help="With --strategy: where in the candles it begins (UTC).")
    ] = None,
    hours: Annotated[
        int | None,
        typer.Option(min=1, max=240, show_default="48", help="With --strategy: how many hours of candles."),
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

    With --strategy, the strategy trades two days of the candle file within minutes, and the backtest checks its
    decisions. Then a large order is bought at once, in slices and by an iceberg, to compare the costs. Real Redis, PostgreSQL, Celery workers and HTTP; nothing needs to be configured, no real account is
    touched.
    """
    brokers = [parse_broker(name, "--broker") for name in broker or ()] or supported_brokers()
    stamina.instrumentation.set_on_retry_hooks([])  # a process that was killed is announced by its supervisor
    if strategy:
        if stay or fills is not None:
            raise ConfigurationError("--strategy has no person that trades; leave out --fills and --stay")
        if candles is None:
            raise ConfigurationError("--strategy needs --candles FILE: a CSV file of one-minute candles, also .gz")
        _run_strategy(
            brokers, followers or _STRATEGY_FOLLOWERS, candles, since, hours, seed, keep=keep, as_json=as_json
        )
        return
    if since is not None or hours is not None:
        raise ConfigurationError(
            "--from and --hours choose the candles of --strategy; add --strategy, or leave them out"
        )
    _run_person(
        brokers, followers or _FOLLOWERS, fills or _ORDERS, candles, seed, keep=keep, stay=stay, as_json=as_json
    )


def _run_person(
    brokers: list[Broker],
    followers: int,
    orders: int,
    candles: Path | None,
    seed: int,
    *,
    keep: bool,
    stay: bool,
    as_json: bool,
) -> None:
    from services.demo.figures import result_as_json
    from services.demo.run import Demo, DemoResult
    from services.demo.view import console_for, final_screen

    if candles is not None:
        load_candles(candles)
    console = console_for(json_output=as_json)
    run = Demo(brokers, followers=followers, orders=orders, candles=candles, seed=seed, console=console)

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


def _run_strategy(
    brokers: list[Broker],
    followers: int,
    candles: Path,
    since: str | None,
    hours: int | None,
    seed: int,
    *,
    keep: bool,
    as_json: bool,
) -> None:
    from services.demo.figures import result_as_json
    from services.demo.market_span import USUAL_HOURS, span_of
    from services.demo.run import DemoResult
    from services.demo.strategy_run import StrategyDemo
    from services.demo.strategy_view import strategy_as_json, strategy_screen
    from services.demo.view import console_for, final_screen

    span = span_of(load_candles(candles), parse_moment(since, "--from"), hours or USUAL_HOURS)
    console = console_for(json_output=as_json)
    run = StrategyDemo(brokers, followers=followers, candles=candles, span=span, seed=seed, console=console)

    async def trade_and_compare() -> tuple[DemoResult, dict[str, Any]]:
        return await run.run(keep=keep), await run.compare_execution()

    (figures, latency_ms), execution = asyncio.run(trade_and_compare())
    if as_json:
        result = strategy_as_json(span, run.strategy, result_as_json(figures, latency_ms), execution)
        sys.stdout.write(json.dumps(result) + "\n")
    else:
        console.print(final_screen(figures, latency_ms), strategy_screen(span, run.strategy, figures, execution))
    copies_are_sound = all(found.is_sound for found in figures.values())
    if "error" in execution or not (copies_are_sound and all(found.is_sound for found in run.strategy.values())):
        raise typer.Exit(1)
