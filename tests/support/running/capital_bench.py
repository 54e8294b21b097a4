"""Lets questions about capital meet a real paper broker, Redis and PostgreSQL: a master account that is read on demand."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from uuid import uuid4

from redis import Redis as BlockingRedis
from redis.asyncio import Redis
from sqlalchemy import Engine

from services.master_trader.list_instruments import list_instruments
from services.master_trader.master_prices import MasterPriceList
from services.master_trader.poll import read_account
from services.master_trader.report import Report
from services.master_trader.report_holdings import report_holdings
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.port.orders import MarketOrder
from shared.brokers.registry import connect, profile_of
from shared.domain.accounts.credentials import Credentials
from shared.domain.capital.scaling import DEFAULT_STOCKS
from shared.domain.fill import Side
from shared.domain.identity import Broker, CopyOrderId, MasterAccount
from shared.domain.symbol import Symbol
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.price_list import PriceListWriter, StoredPrices
from shared.messaging.scripts import ScriptRunner
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.queries.capital.markets import OpenMarkets
from shared.queries.capital.sources import AccountName, CapitalSources
from shared.queries.connections import Connections
from tests.contract.paper import PaperServer

MASTER = MasterAccount("master")
_NUMBERS = count(1)


@dataclass
class CapitalBench:
    """One master account, and what questions about it read from. `account` is its name at the paper broker."""

    paper: PaperServer
    account: str
    credentials: Credentials
    connection: BrokerConnection
    redis: Redis
    markets: OpenMarkets
    sources: CapitalSources

    @property
    def keys(self) -> BrokerKeys:
        return BrokerKeys(self.connection.broker)

    @property
    def name(self) -> AccountName:
        return AccountName(broker=self.connection.broker, account=MASTER)

    @property
    def engine(self) -> Engine:
        return self.sources.connections.engine

    async def read(self, *faults: str) -> None:
        """Read the account and the prices, as the master's process does. `faults`: of the broker, before the margin."""
        now = datetime.now(UTC)
        ledger = MasterFills(self.engine)
        ledger.watch(self.name.broker, MASTER, now - timedelta(days=1))
        await list_instruments(self.redis, self.keys, self.connection.instruments())
        account = self.connection.account(self.credentials)
        assets = (await account.balances()).keys()
        await PriceListWriter(self.redis, self.keys).write(await self.connection.price_list(assets), now)
        prices = MasterPriceList(StoredPrices(self.redis, self.keys), profile_of(self.name.broker).price_routes, {})
        report = Report(self.redis, self.keys, MASTER, "test", lambda: datetime.now(UTC))
        reading = await read_account(account, (), datetime.now(UTC), prices)
        await report.equity(reading.account)
        for fault in faults:
            self.paper.fault(fault, account=self.account)
        await report_holdings(account, reading, {}, report)

    async def trade(self, side: Side, symbol: str, quantity: str) -> None:
        """Trade on the master account. Stocks and coins are filled at once."""
        order = MarketOrder(
            client_order_id=CopyOrderId(uuid4().hex),
            symbol=Symbol.parse(symbol),
            side=side,
            quantity=Decimal(quantity),
            valid_until=datetime.now(UTC) + timedelta(seconds=self.connection.request_validity_seconds),
        )
        await self.connection.account(self.credentials).place(order)

    def set_balance(self, currency: str, total: str) -> None:
        """Let money come in or go out."""
        self.paper.ask("POST", f"accounts/{self.account}/balances", {currency: total})


def sources_of(broker: Broker, markets: OpenMarkets, engine: Engine, redis_url: str) -> CapitalSources:
    """What questions about one broker read from."""
    clients = {broker: BlockingRedis.from_url(redis_url, decode_responses=True)}
    return CapitalSources(connections=Connections(engine, clients), markets=markets, stocks=DEFAULT_STOCKS)


@asynccontextmanager
async def open_capital_bench(
    broker: Broker, paper: PaperServer, redis_url: str, engine: Engine, balances: dict[str, str]
) -> AsyncIterator[CapitalBench]:
    """Open a new account at a paper broker, and read it once."""
    name = f"capital-{next(_NUMBERS)}"
    key = paper.new_account(name, balances)
    async with capital_bench_of(broker, paper, redis_url, engine, name, key) as bench:
        yield bench


@asynccontextmanager
async def capital_bench_of(
    broker: Broker, paper: PaperServer, redis_url: str, engine: Engine, name: str, key: Credentials
) -> AsyncIterator[CapitalBench]:
    """Read an account of a paper broker once."""
    async with Redis.from_url(redis_url) as redis:

        def connection() -> BrokerConnection:
            nonces = RedisNonceSource(ScriptRunner(redis), BrokerKeys(broker))
            return connect(broker, base_url=paper.url, nonces=nonces, request_timeout_seconds=5, markets_key=key)

        watching = connection()
        await watching.open()
        markets = OpenMarkets(lambda _: connection())
        sources = sources_of(broker, markets, engine, redis_url)
        bench = CapitalBench(paper, name, key, watching, redis, markets, sources)
        try:
            await bench.read()
            yield bench
        finally:
            await watching.close()
            await markets.close()
            sources.connections.redis_of(broker).close()


def read_kraken_master(paper: PaperServer, redis_url: str, database_url: str) -> None:
    """Read a new master account at a paper Kraken once: 4,000 dollars, and 0.02 BTC at 50,000."""

    async def read() -> None:
        engine = open_engine(database_url)
        balances = {"USD": "4000", "BTC": "0.02"}
        async with open_capital_bench(Broker.KRAKEN, paper, redis_url, engine, balances):
            pass
        engine.dispose()

    paper.pin_price("BTC/USD", "50000")
    asyncio.run(read())
