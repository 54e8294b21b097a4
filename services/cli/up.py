"""`nija up`: runs every process on this machine until Ctrl-C."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.local_system.errors import away_is_a_failed_start
from services.local_system.paper_accounts import trader_key_file
from services.local_system.served import wait_until_served
from services.local_system.system import LocalSystem
from shared.config import ConfigurationError, Settings, load_settings, parse_broker
from shared.domain.identity import Broker
from shared.exchange.candles import load_candles


def up(
    paper: Annotated[bool, typer.Option("--paper", help="Trade on paper brokers; no real account is touched.")] = False,
    broker: Annotated[
        list[str] | None,
        typer.Option(
            "--broker",
            help="Run for this broker only; may be given several times. Without: those with a master's key, or with --paper Kraken.",
        ),
    ] = None,
    home: Annotated[Path | None, typer.Option("--home", help="The data folder (NIJA_HOME).")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the paper prices.")] = 7,
    candles: Annotated[Path | None, typer.Option(help="Candle file with the paper prices of BTC/USD.")] = None,
) -> None:
    """Run every process on this machine until Ctrl-C; a process that dies is started again.

    Redis and PostgreSQL are started too, unless REDIS_URL and DATABASE_URL name other ones.
    """
    settings = load_settings(home=home)
    if candles is not None:
        if not paper:
            raise ConfigurationError("--candles: real accounts have prices of their own; it goes with --paper")
        load_candles(candles)
    brokers = tuple(parse_broker(name, "--broker") for name in broker or ())
    with away_is_a_failed_start():
        asyncio.run(_run(settings, brokers, paper=paper, seed=seed, candles=candles))


async def _run(
    settings: Settings, brokers: tuple[Broker, ...], *, paper: bool, seed: int, candles: Path | None
) -> None:
    console = Console(highlight=False)

    def announce(line: str) -> None:
        console.print(f"{console.get_datetime():%H:%M:%S} {line}", markup=False, soft_wrap=True)

    task = asyncio.current_task()
    if task is None:
        return

    def stop() -> None:
        if task.cancelling():
            # A quick end would leave orders in flight, which the next start must look up.
            announce("still stopping: orders in flight are finished first")
        else:
            announce("stopping: workers finish what is under way")
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    # A request to stop is a normal end at any moment.
    with contextlib.suppress(asyncio.CancelledError):
        async with LocalSystem(
            settings,
            brokers=brokers,
            paper=paper,
            seed=seed,
            candles=candles,
            api=True,
            strategy=True,
            announce=announce,
        ) as system:
            names = ", ".join(each.value for each in system.settings.brokers)
            for each, url in system.paper_urls.items():
                key_file = trader_key_file(settings.home / "paper", each)
                announce(f"trade the paper master with any client of {each.value} at {url}, key in {key_file}")
            announce(f"the API is at {system.api_url}; `nija tokens add NAME --role read` makes a token for it")
            for line in await wait_until_served(system.settings):
                announce(line)
            announce(f"nija runs for {names}; Ctrl-C stops it, logs are in {settings.home / 'logs'}")
            await asyncio.Event().wait()
    announce("stopped")
