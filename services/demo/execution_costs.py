"""Measures what TWAP and ICEBERG save against one market order, in the thin order book of a paper broker.

The whole system of one paper broker runs, without the strategy. The executor of the strategy buys half of the first 20
levels three times on the master account: by one market order, by TWAP and by an iceberg. The orders go through mailbox,
worker and ledger, as those of the strategy do.

The price stands still, so the figures have no drift of the market in them. Only while the iceberg quotes, the price falls
by 0.04 % for a moment, again and again, because a market that never moves fills no quote below it. The book of a paper
broker is full again after each order. A real book may need longer than the pause between two slices.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

import aiohttp

from services.local_system.paper_accounts import quote_currency
from services.local_system.system import LocalSystem
from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import EXAMPLE_BROKER, connect
from shared.config import Settings, master_prefix
from shared.domain.amounts import plain
from shared.domain.capital.execution import IcebergPlan, Slice, TwapPlan, iceberg_plan, twap_plan
from shared.domain.capital.liquidity import hit_levels, near_quantity
from shared.domain.fill import Side
from shared.domain.identity import DecisionId, MasterAccount
from shared.domain.market_data import OrderBook
from shared.domain.strategy.execution.plans import EntryPlan, MarketPlan
from shared.domain.strategy.execution.results import ExecutionResult
from shared.domain.symbol import Symbol
from shared.messaging.cancellation import end_tasks
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.scripts import ScriptRunner
from shared.messaging.strategy_mail import StrategyMail
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys

_MASTER: Final = MasterAccount("master")
_DOLLARS: Final = "100000000"
"""Far more than the book can take."""
_PART_OF_NEAR_BOOK: Final = Decimal("0.5")
_DIP: Final = Decimal("0.0004")
_DIP_SECONDS: Final = 0.4
_BASIS_POINTS: Final = 10_000


@dataclass(frozen=True, slots=True)
class _Desk:
    """What a purchase needs."""

    settings: Settings
    books: StrategyBooks
    executor: StrategyExecutor
    market: BrokerConnection
    paper: aiohttp.ClientSession
    """The paper broker's own interface."""
    symbol: Symbol

    async def book(self) -> OrderBook:
        return await self.market.market_data.order_book(self.symbol, 100)

    async def set_price(self, price: Decimal) -> None:
        async with self.paper.post("price", json={"symbol": self.symbol, "price": plain(price)}):
            pass

    async def buy(self, plan: EntryPlan) -> ExecutionResult:
        """Execute a plan. Raises RuntimeError if it does not buy its whole quantity."""
        decision = DecisionId(f"compared-{plan.method}")
        await asyncio.to_thread(self.books.begin, decision, plan, self.market.clock.now())
        result = await self.executor.go_on(decision)
        if result.message:
            raise RuntimeError(f"{plan.method}: {result.message}")
        return result


async def execution_costs(settings: Settings, pace: int, announce: Callable[[str], None]) -> dict[str, Any]:
    """Run a system with these settings and buy. Return the cost of each method in basis points of the best ask.

    The pauses of the plans are divided by `pace`. Raises RuntimeError if a plan does not buy its whole quantity.
    """
    async with (
        LocalSystem(
            settings,
            brokers=(EXAMPLE_BROKER,),
            paper=True,
            lift_rate_limits=True,
            prepare=_account,
            announce=announce,
        ) as system,
        aiohttp.ClientSession(f"{system.paper_urls[EXAMPLE_BROKER]}/paper/", raise_for_status=True) as paper,
        _desk(system.settings, paper) as desk,
    ):
        price = (await desk.book()).asks[0].price
        await desk.set_price(price)
        return await _measure(desk, price, pace, announce)


async def _measure(desk: _Desk, price: Decimal, pace: int, announce: Callable[[str], None]) -> dict[str, Any]:
    book = await desk.book()
    asks, instrument = hit_levels(book, Side.BUY), desk.market.instruments()[desk.symbol]
    quantity = instrument.rounded(near_quantity(asks) * _PART_OF_NEAR_BOOK)
    margin = desk.settings.open_limits.margin_of(instrument)
    announce(f"one market order for {plain(quantity)} {instrument.base}")
    bought = {
        "MARKET": await desk.buy(MarketPlan(instrument=instrument, side=Side.BUY, quantity=quantity, margin=margin))
    }
    twap = _faster(twap_plan(instrument, Side.BUY, quantity, book, desk.market.clock.now()), pace)
    announce(f"TWAP: {len(twap.slices)} slices in {(twap.ends_at - twap.slices[0].at).total_seconds():.0f} s")
    bought["TWAP"] = await desk.buy(twap)
    iceberg = iceberg_plan(instrument, Side.BUY, quantity, book, desk.market.clock.now())
    iceberg = _faster_quotes(iceberg, pace)
    announce(f"ICEBERG: quotes for {iceberg.lasts.total_seconds():.0f} s")
    async with _dips(desk, price):
        bought["ICEBERG"] = await desk.buy(iceberg)
    methods = {name: _figures(result, asks[0].price) for name, result in bought.items()}
    at_market = methods["MARKET"]["basis_points"]
    return {
        "broker": EXAMPLE_BROKER.value,
        "symbol": desk.symbol,
        "quantity": float(quantity),
        "best_ask": float(asks[0].price),
        "pace": pace,
        "methods": methods,
        "saved_basis_points": {
            name: round(at_market - methods[name]["basis_points"], 2) for name in ("TWAP", "ICEBERG")
        },
    }


def _faster(plan: TwapPlan, pace: int) -> TwapPlan:
    begins = plan.slices[0].at
    return plan.model_copy(
        update={"slices": tuple(Slice(begins + (each.at - begins) / pace, each.quantity) for each in plan.slices)}
    )


def _faster_quotes(plan: IcebergPlan, pace: int) -> IcebergPlan:
    names = ("requote_every", "lasts", "shortest_quote")
    return plan.model_copy(update={name: getattr(plan, name) / pace for name in names})


def _figures(result: ExecutionResult, best_ask: Decimal) -> dict[str, Any]:
    above = (result.cost / result.filled_quantity / best_ask - 1) * _BASIS_POINTS
    # The fee of a paper Kraken is in dollars, like the cost.
    fees = sum((fill.fee for fill in result.fills), Decimal(0)) / result.cost * _BASIS_POINTS
    return {
        "orders": len(result.fills),
        "basis_points": round(float(above), 2),
        "fee_basis_points": round(float(fees), 2),
    }


@contextlib.asynccontextmanager
async def _dips(desk: _Desk, price: Decimal) -> AsyncIterator[None]:
    """Let the price fall for a moment, again and again. An error of the block is raised as it is."""
    lower = desk.market.instruments()[desk.symbol].limit_price(price * (1 - _DIP), Side.BUY)

    async def fall_and_rise() -> None:
        while True:
            for each in (lower, price):
                await asyncio.sleep(_DIP_SECONDS)
                await desk.set_price(each)

    falling = asyncio.create_task(fall_and_rise())
    try:
        yield
    finally:
        await end_tasks(falling)
    if not falling.cancelled():
        falling.result()


async def _account(system: LocalSystem) -> Mapping[str, str]:
    """Make the master account; `prepare` of a LocalSystem."""
    new = {"name": _MASTER, "balances": {quote_currency(EXAMPLE_BROKER): _DOLLARS}, "keys": 1}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.post(f"{system.paper_urls[EXAMPLE_BROKER]}/paper/accounts", json=new) as reply,
    ):
        (key,) = (await reply.json())["keys"]
    return {f"{master_prefix(EXAMPLE_BROKER)}_{part.upper()}": text for part, text in key.items()}


@contextlib.asynccontextmanager
async def _desk(settings: Settings, paper: aiohttp.ClientSession) -> AsyncIterator[_Desk]:
    """The executor of the master account, as the trader of the broker makes it."""
    redis_url, keys = settings.redis_url_for(EXAMPLE_BROKER), BrokerKeys(EXAMPLE_BROKER)
    async with contextlib.AsyncExitStack() as stack:
        engine = open_engine(settings.required_database_url(), pool_size=2)
        stack.callback(engine.dispose)
        master_key = settings.required_master_credentials(EXAMPLE_BROKER)
        MasterKeys(engine, SecretBox(settings.secret_key)).keep(EXAMPLE_BROKER, _MASTER, master_key)
        redis = await stack.enter_async_context(guarded_redis(redis_url, keys))
        runner = ScriptRunner(redis)
        base_url = settings.base_url(EXAMPLE_BROKER)
        market = connect(EXAMPLE_BROKER, base_url=base_url, nonces=RedisNonceSource(runner, keys, 0))
        await market.open()
        stack.push_async_callback(market.close)
        hints = HintPublisher(EXAMPLE_BROKER, redis_url)
        stack.callback(hints.close)
        books = StrategyBooks(engine, EXAMPLE_BROKER, _MASTER)
        executor = StrategyExecutor(
            TradedAccount(EXAMPLE_BROKER, _MASTER, settings.open_limits),
            books,
            StrategyMail(redis, runner, keys),
            read_book=lambda symbol: market.market_data.order_book(symbol, 100),
            hint=lambda: hints.publish(1),
            now=market.clock.now,
        )
        symbol = Symbol("BTC", quote_currency(EXAMPLE_BROKER))
        yield _Desk(settings, books, executor, market, paper, symbol)
