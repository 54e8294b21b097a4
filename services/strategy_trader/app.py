"""Trades the master account of one broker by the strategy: `python -m services.strategy_trader.app --broker kraken`.

It trades only where MULTI_BROKER_INDEPENDENT is on, and only after the key of the account has passed the same check as
in `nija check keys`. Any number of these processes may run for a broker: one trades, and another one takes over when it
ends. SIGTERM or SIGINT ends the cycle in hand. A wrong setting ends the process at the start, with exit code 2 and a
text that names the setting.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog
import uvloop
from sqlalchemy import Engine

from services.strategy_trader.execution.executor import StrategyExecutor, TradedAccount
from services.strategy_trader.key_gate import wait_for_a_good_key
from services.strategy_trader.market_time import MACHINE_TIME, MachineTime, PaperMarketTime
from services.strategy_trader.same_account import KeyLoan, take_key_back
from services.strategy_trader.serve import TraderLoop
from services.strategy_trader.summary import log_summary
from services.strategy_trader.venue import BrokerVenue
from shared.config import (
    ConfigurationError,
    Settings,
    database_is_usable,
    parse_broker,
    redis_is_usable,
    settings_of_stage,
)
from shared.config.broker_variables import master_prefix
from shared.config.capital import open_capital
from shared.config.operator import action_context
from shared.domain.identity import Broker, MasterAccount
from shared.domain.market_data import OrderBook
from shared.domain.request_limits import Priority
from shared.domain.strategy.schedule import schedule_of
from shared.domain.symbol import Symbol
from shared.messaging.cancellation import end_tasks
from shared.messaging.celery_app import HintPublisher
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, process_token
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stage_signs import Stage, StageRecord
from shared.messaging.strategy_mail import StrategyMail
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.observability.vitals import Duty, Vitals
from shared.persistence.capital import CapitalStore
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.strategy.books import StrategyBooks
from shared.persistence.strategy.keys import MasterKeys
from shared.persistence.traders import TraderStore
from shared.presence import LoopLife, signs_of_life
from shared.queries.capital.sources import AccountName, CapitalSources
from shared.running import stop_by_signal, wait

MASTER_ACCOUNT: Final = MasterAccount("master")
"""As in services/master_trader: a broker has one master."""
LEASE_SECONDS: Final = 5.0
"""How long the account is not traded after a crash at most, before the spare or a restarted process takes over."""
CYCLE_GRACE_SECONDS: Final = 20.0
"""From SIGTERM until the cycle in hand is cut short. The next process goes on with its orders."""
_IDLE_SECONDS: Final = 10.0

log = structlog.get_logger()


async def run(settings: Settings, broker: Broker, record: StageRecord, start: Start) -> None:
    """Wire everything and trade until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    redis_url, database_url = settings.redis_url_for(broker), settings.required_database_url()
    vitals = Vitals(Heartbeat(settings.heartbeat_file), [broker])
    duty = vitals.duty(broker)
    engine = open_engine(database_url, pool_size=4)
    try:
        async with signs_of_life(
            LoopLife(record, vitals), {broker: redis_url}, database_url, emergency_folders=settings.emergency_folders
        ):
            await database_is_usable(engine, stopping, duty.without_server)
            await redis_is_usable(settings, broker, stopping, duty.without_server)
            start.succeeded()
            why_idle = reason_not_to_trade(settings, broker)
            if why_idle:
                await asyncio.to_thread(take_key_back, engine, broker, MASTER_ACCOUNT)
                await _idle(why_idle, stopping, duty)
                return
            log.info("strategy trader started", parameters=settings.strategy_parameters.model_dump(mode="json"))
            if (
                not stopping.is_set()
                and await wait_for_a_good_key(settings, engine, broker, stopping, duty)
                and await _key_loan(settings, engine, broker).lend(stopping, duty)
            ):
                async with _market_time(settings, broker, engine) as time, open_capital(settings, time.now) as sources:
                    await _trade(settings, broker, sources, time, stopping, duty)
    finally:
        engine.dispose()
    log.info("strategy trader stopped")


def reason_not_to_trade(settings: Settings, broker: Broker) -> str:
    """Return why the account is not traded as the settings are; empty: it is."""
    if not settings.multi_broker_independent:
        return "MULTI_BROKER_INDEPENDENT is not on: set it to true to let the strategy trade the master accounts"
    if settings.master_credentials(broker) is None:
        prefix = master_prefix(broker)
        return f"no master account is configured: set {prefix}_API_KEY and {prefix}_API_SECRET"
    return ""


def _key_loan(settings: Settings, engine: Engine, broker: Broker) -> KeyLoan:
    """The key of the account for the workers of the broker. They send its orders."""
    return KeyLoan(
        access=action_context(settings, engine).access,
        engine=engine,
        keys=MasterKeys(engine, SecretBox(settings.secret_key)),
        broker=broker,
        account=MASTER_ACCOUNT,
        credentials=settings.required_master_credentials(broker),
    )


@asynccontextmanager
async def _market_time(
    settings: Settings, broker: Broker, engine: Engine
) -> AsyncIterator[MachineTime | PaperMarketTime]:
    if settings.paper_market_clock:
        unfinished = TraderStore(engine).of(broker, MASTER_ACCOUNT).unfinished
        async with PaperMarketTime(paper_market_url(settings, broker), unfinished) as time:
            yield time
    else:
        yield MACHINE_TIME


def paper_market_url(settings: Settings, broker: Broker) -> str:
    """Return the address of the paper broker whose time is followed. Raises ConfigurationError without one."""
    url = settings.base_url(broker)
    if url is None:
        raise ConfigurationError(
            f"NIJA_PAPER_MARKET_CLOCK is on, but {broker.name}_BASE_URL is not set: only the market of a paper broker "
            "has a time of its own, so leave NIJA_PAPER_MARKET_CLOCK out"
        )
    return url


async def _trade(
    settings: Settings,
    broker: Broker,
    sources: CapitalSources,
    time: MachineTime | PaperMarketTime,
    stopping: asyncio.Event,
    duty: Duty,
) -> None:
    redis_url, keys, token = settings.redis_url_for(broker), BrokerKeys(broker), process_token()
    redis = guarded_redis(redis_url, keys)
    hints = HintPublisher(broker, redis_url)
    name = AccountName(broker=broker, account=MASTER_ACCOUNT)
    engine = sources.connections.engine
    orders = StrategyBooks(engine, broker, MASTER_ACCOUNT, token)

    async def read_book(symbol: Symbol) -> OrderBook:
        return await (await sources.markets.of(broker)).at(Priority.WATCH).order_book(symbol)

    executor = StrategyExecutor(
        TradedAccount(broker, MASTER_ACCOUNT, settings.open_limits),
        orders,
        StrategyMail(redis, ScriptRunner(redis), keys),
        read_book=read_book,
        hint=lambda: hints.publish(1),
    )
    loop = TraderLoop(
        BrokerVenue(sources, name, time, settings.assets, settings.master_credentials(broker)),
        TraderStore(engine).of(broker, MASTER_ACCOUNT),
        executor,
        orders,
        schedule_of(broker, settings.trader_cycle_seconds),
        token,
        duty,
        margin_memory=partial(CapitalStore(engine).change_margin_action, broker, MASTER_ACCOUNT),
        parameters=settings.strategy_parameters,
        wait_for=time.wait_for if isinstance(time, PaperMarketTime) else None,
        summarize=lambda: log_summary(sources.connections, settings.enabled_brokers(), datetime.now(UTC)),
    )
    try:
        serving = asyncio.create_task(loop.serve(Lease(redis, keys.trader_lease, token, LEASE_SECONDS), stopping))
        await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({serving}, timeout=CYCLE_GRACE_SECONDS)
        if not serving.done():
            log.warning("cut the cycle short", after_seconds=CYCLE_GRACE_SECONDS)
        await end_tasks(serving)
    finally:
        hints.close()
        await redis.aclose()


async def _idle(why: str, stopping: asyncio.Event, duty: Duty) -> None:
    """Do nothing until the end of the process, and say why. The orchestrator need not restart it."""
    log.warning("the strategy does not trade", reason=why)
    while not stopping.is_set():
        duty.worked()
        await wait(stopping, _IDLE_SECONDS)


def main() -> None:
    parser = StageParser(prog="strategy_trader", description="Trade the master account of one broker.")
    parser.add_argument("--broker", required=True, help="whose master account: " + ", ".join(Broker))
    arguments = parser.parse_args()
    with start_of("strategy_trader", debug=arguments.debug) as start:
        broker = parse_broker(arguments.broker, "--broker")
        record = StageRecord.of_this_process(Stage.STRATEGY_TRADER)
        settings = settings_of_stage(start, broker, record=record)
        settings.redis_url_for(broker)
        if settings.paper_market_clock:
            paper_market_url(settings, broker)
        if not reason_not_to_trade(settings, broker):
            SecretBox(settings.secret_key)
        open_engine(settings.required_database_url()).dispose()
        uvloop.run(run(settings, broker, record, start))


if __name__ == "__main__":
    main()
