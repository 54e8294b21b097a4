"""Performs the demo in which the strategy trades: the markets of the paper brokers pass through a part of a candle file.

Each market stands until its trader waits for the next cycle, and as long as an order or a copy is not settled. So two
days take a few minutes. Leases, ages, deadlines and limits of orders follow the time of the machine. The limits of
requests are lifted, because two days of candles are read within minutes.
"""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from services.backtest.against_live import as_shown, backtest_signals, compare_with_live
from services.backtest.candle_file import CandleHistory, read_history
from services.demo.accounts import MASTER, MASTER_DOLLARS
from services.demo.execution_costs import execution_costs
from services.demo.market_release import MarketRelease
from services.demo.market_span import decided_candles
from services.demo.one_broker import BrokerDemo
from services.demo.run import Demo
from services.demo.strategy_figures import StrategyFigures, decisions_of, strategy_figures
from services.local_system.processes import MarketSpan
from services.local_system.system import LocalSystem
from services.paper_broker.dialect import dialect_of
from shared.config import Settings, load_settings
from shared.domain.errors import NijaError
from shared.domain.identity import Broker, MasterAccount
from shared.domain.strategy.candle_window import INTERVAL
from shared.domain.strategy.parameters import ApexParameters
from shared.messaging.cancellation import end_tasks
from shared.persistence.reports.reports import Reports
from shared.persistence.traders import TraderStore

CYCLE_SECONDS: Final = INTERVAL.length.total_seconds()
"""One cycle for each candle. Live, there are two, and the second one looks at exits only."""
MASTER_POLL_SECONDS: Final = 1.0
EXECUTION_PACE: Final = 15
"""Divides the pauses of TWAP and iceberg in the comparison of costs: 18 and 20 seconds instead of five minutes each."""
COIN: Final = "BTC"
"""The only coin of the candle file. The prices of the others stand."""


class StrategyDemo(Demo):
    """The demo without a person: each broker's trader trades by the strategy."""

    _who_trades = "the strategy trades now, each broker by itself"

    def __init__(
        self,
        brokers: Sequence[Broker],
        *,
        followers: int,
        candles: Path,
        span: MarketSpan,
        seed: int,
        console: Console,
    ) -> None:
        super().__init__(brokers, followers=followers, orders=0, candles=candles, seed=seed, console=console)
        self.strategy: dict[Broker, StrategyFigures] = {}
        """What the trader of each broker did. It is there after `run`."""
        self._file = candles
        self._span = span
        self._parameters: ApexParameters | None = None

    async def compare_execution(self) -> dict[str, Any]:
        """Buy in a thin book by each method, at one paper broker of its own. Return what each method cost.

        If that fails, return only why, under `error`: what the strategy did is shown nevertheless.
        """
        self._announce("half of a thin order book is bought three times now: at once, by TWAP and by an iceberg")
        with tempfile.TemporaryDirectory(prefix="nija-execution-") as folder:
            files = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
            settings = load_settings(files, folder=Path(folder), home=Path(folder))
            try:
                return await execution_costs(settings, EXECUTION_PACE, self._announce)
            except (NijaError, RuntimeError, OSError, aiohttp.ClientError) as error:
                return {"error": str(error) or type(error).__name__}

    def _system(self, settings: Settings) -> LocalSystem:
        self._parameters = settings.strategy_parameters
        changes = {
            "multi_broker_independent": True,
            "trader_cycle_seconds": CYCLE_SECONDS,
            "master_poll_seconds": MASTER_POLL_SECONDS,
            "assets": (COIN,),
        }
        return LocalSystem(
            settings.model_copy(update=changes),
            brokers=self._brokers,
            paper=True,
            seed=self._seed,
            candles=self._candles,
            market=self._span,
            lift_rate_limits=True,
            strategy=True,
            prepare=self._prepare,
            announce=self._announce,
        )

    async def _place_and_watch(self, engine: Engine) -> None:
        """Let each market pass through its time, and show where it is."""
        reports, span = Reports(engine), self._span
        columns = (TextColumn("  {task.description:24}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as progress:

            async def pass_through(part: BrokerDemo) -> None:
                shown = progress.add_task(part.broker.value, total=(span.until - span.since).total_seconds())
                release = MarketRelease(part.broker, part.paper_url, part.followers, reports)
                await release.run(
                    lambda now: progress.update(
                        shown,
                        completed=(now - span.since).total_seconds(),
                        description=f"{part.broker.value:9} {now:%Y-%m-%d %H:%M}",
                    )
                )

            passing = [asyncio.create_task(pass_through(part)) for part in self._parts]
            try:
                await asyncio.gather(*passing)
            finally:
                await end_tasks(*passing)

    async def _finish(self, system: LocalSystem, engine: Engine) -> None:
        self._announce("the backtest decides on the same candles now")
        restarts = sum(process.restarts for process in system.processes)
        history = await asyncio.to_thread(
            read_history, self._file, self._span.since - INTERVAL.length, self._span.until
        )
        for part in self._parts:
            found = await asyncio.to_thread(self._figures_of, engine, part.broker, history, restarts)
            self.strategy[part.broker] = found

    def _figures_of(self, engine: Engine, broker: Broker, history: CandleHistory, restarts: int) -> StrategyFigures:
        store = TraderStore(engine)
        books, stored = store.of(broker, MasterAccount(MASTER)), store.decisions(broker)
        instruments = dialect_of(broker)(enforces_rate_limits=False).instruments.values()
        tick = next(each.price_tick for each in instruments if each.base == COIN)
        shown = as_shown(history, tick)
        parameters = self._parameters or ApexParameters()
        return strategy_figures(
            stored,
            books.closed_trades(),
            left=len(books.open_positions()),
            expected=decided_candles(self._span),
            restarts=restarts,
            compared=compare_with_live(
                decisions_of(stored), shown, backtest_signals(shown, broker, MASTER_DOLLARS, parameters)
            ),
        )
