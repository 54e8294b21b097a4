"""Opens what questions about capital read from, by the settings, for the command line and for any other front end."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from time import monotonic

from shared.brokers.limits import PatientLimits
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import CountsRequests, connect
from shared.config.operator import open_connections
from shared.config.settings import Settings
from shared.domain.identity import Broker
from shared.domain.request_limits import Priority
from shared.messaging.connection.connect import COMMAND_ANSWER_SECONDS, open_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from shared.queries.capital.markets import OpenMarkets
from shared.queries.capital.sources import CapitalSources, Clock, Memory, utc_now


@asynccontextmanager
async def open_capital(settings: Settings, market_now: Clock = utc_now) -> AsyncIterator[CapitalSources]:
    """Open the servers and the markets. `market_now`: the time of the markets' candles.

    Raises ConfigurationError, DatabaseUnavailable, DatabaseUnusable, SchemaOutdated.
    """
    async with AsyncExitStack() as stack:
        connections = stack.enter_context(open_connections(settings, redis=True, pool_size=2))
        clock = monotonic if market_now is utc_now else lambda: market_now().timestamp()
        yield CapitalSources(
            connections=connections,
            markets=open_markets(settings, stack, market_now),
            stocks=settings.stocks,
            closes=Memory(clock),
            ranges=Memory(clock),
        )


def open_markets(settings: Settings, stack: AsyncExitStack, market_now: Clock = utc_now) -> OpenMarkets:
    """Return the markets of all brokers; a connection is opened by the first question. The end of `stack` closes all.

    Requests are counted together with those of all other processes, so questions do not exceed the limits of a broker.
    """
    servers = AsyncExitStack()

    @cache
    def limits_of(broker: Broker) -> tuple[ScriptRunner, RedisRateLimits]:
        # Once for each broker: a broker that is away is connected to again at each question.
        redis = open_redis(settings.redis_url_for(broker), answer_seconds=COMMAND_ANSWER_SECONDS)
        servers.push_async_callback(redis.aclose)
        scripts = ScriptRunner(redis)
        buckets = RedisRateLimits(scripts, BrokerKeys(broker))
        servers.push_async_callback(buckets.release)
        return scripts, buckets

    def new_connection(broker: Broker) -> BrokerConnection:
        scripts, buckets = limits_of(broker)
        connection = connect(
            broker,
            base_url=settings.base_url(broker),
            nonces=RedisNonceSource(scripts, BrokerKeys(broker), settings.nonce_above(broker)),
            proxy=settings.proxy(broker),
            request_timeout_seconds=settings.request_timeout_seconds,
            limits=PatientLimits(buckets) if settings.rate_limits else None,
            markets_key=settings.master_credentials(broker),
        )
        if isinstance(connection, CountsRequests) and connection.budget is not None:
            # Orders and polls of accounts come first. Where a question decides a sale, it raises its priority itself.
            connection.budget = connection.budget.at(Priority.BACKGROUND)
        return connection

    markets = OpenMarkets(new_connection, market_now=market_now)
    stack.push_async_callback(servers.aclose)
    stack.push_async_callback(markets.close)
    return markets
