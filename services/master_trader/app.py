"""Watches the master account of one broker: `python -m services.master_trader.app --broker kraken`.

The account's own executions in; numbered fills in the ledger and in the stream `fills` out. Any number of these
processes may run for a broker: one works, the others take over when it ends. Ends by SIGTERM or SIGINT only; a
wrong setting ends it at the start, with exit code 2 and a text that names the setting.
"""

import asyncio
import contextlib
from typing import Final

import structlog
import uvloop

from services.master_trader.report import Report
from services.master_trader.serve import serve
from services.master_trader.watch import Master, Watch, utc_now
from shared.brokers.limits import PatientLimits
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.config import Settings, database_is_usable, parse_broker, redis_is_usable, settings_of_stage
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.circuit import RedisCircuit
from shared.messaging.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, process_token
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.running import GRACE_SECONDS, keep_beating, stop_by_signal

# A broker has one master. Its name is in every copy order's id and in the ledger, so it stays when the key changes.
MASTER_ACCOUNT: Final = MasterAccount("master")
LEASE_SECONDS: Final = 5.0
"""How long the account goes unwatched after a crash at most, before the spare or a restarted process works."""

log = structlog.get_logger()


async def run(settings: Settings, broker: Broker, start: Start) -> None:
    """Wire everything and serve until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    keys = BrokerKeys(broker)
    redis = guarded_redis(settings.redis_url_for(broker), keys)
    engine = open_engine(settings.required_database_url(), pool_size=2)
    scripts = ScriptRunner(redis)
    nonces = RedisNonceSource(scripts, keys)
    limits = PatientLimits(RedisRateLimits(scripts, keys)) if settings.keeps_rate_limits(broker) else None
    circuit = RedisCircuit(scripts, keys)
    token = process_token()

    def new_connection() -> BrokerConnection:
        return connect(
            broker,
            base_url=settings.base_url(broker),
            nonces=nonces,
            proxy=settings.proxy(broker),
            request_timeout_seconds=settings.request_timeout_seconds,
            limits=limits,
            circuit=circuit,
            markets_key=settings.master_credentials(broker),
        )

    new_connection()  # an address or a broker that cannot work shows now, not at the first poll
    heartbeat = Heartbeat(settings.heartbeat_file)
    await database_is_usable(engine, stopping, heartbeat.beat)
    await redis_is_usable(settings, broker, stopping, heartbeat.beat)
    master = Master(
        name=MASTER_ACCOUNT,
        credentials=settings.required_master_credentials(broker),
        connect=new_connection,
        ledger=MasterFills(engine),
        redis=redis,
        keys=keys,
        report=Report(redis, keys, MASTER_ACCOUNT, token, utc_now),
    )
    lease = Lease(redis, keys.master_lease, token, LEASE_SECONDS)
    beating = asyncio.create_task(keep_beating(heartbeat))
    serving = asyncio.create_task(serve(Watch(master), master.report, lease, stopping, settings.master_poll_seconds))
    start.succeeded()
    log.info("master trader started", lease=token)
    try:
        await asyncio.wait({serving, asyncio.create_task(stopping.wait())}, return_when=asyncio.FIRST_COMPLETED)
        async with asyncio.timeout(GRACE_SECONDS):
            await serving
    except TimeoutError:
        log.warning("cut short what was under way", after_seconds=GRACE_SECONDS)
    finally:
        beating.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await beating
        await redis.aclose()
        engine.dispose()
    log.info("master trader stopped")


def main() -> None:
    parser = StageParser(prog="master_trader", description="Watch the master account of one broker.")
    parser.add_argument("--broker", required=True, help="whose master account: " + ", ".join(Broker))
    arguments = parser.parse_args()
    with start_of("master_trader", debug=arguments.debug) as start:
        broker = parse_broker(arguments.broker, "--broker")
        settings = settings_of_stage(start, broker=broker)
        settings.required_master_credentials(broker)
        settings.redis_url_for(broker)
        open_engine(settings.required_database_url()).dispose()
        uvloop.run(run(settings, broker, start))


if __name__ == "__main__":
    main()
