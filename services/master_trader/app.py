"""Watches the master account of one broker: `python -m services.master_trader.app --broker kraken`.

It reads the account's executions, numbers them in the ledger and publishes them to the stream `fills`. It also lists the
instruments and prices of the broker. Without a master's key it only lists them. Any number of these processes may run
for a broker: one works, and another one takes over when it ends. Only SIGTERM or SIGINT ends a process that runs. A
wrong setting ends it at the start, with exit code 2 and a text that names the setting.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, Final

import structlog
import uvloop

from services.master_trader.list_prices import Lister
from services.master_trader.report import Report
from services.master_trader.sample_capital import monitor_capital
from services.master_trader.serve import serve
from services.master_trader.watch import Master, Watch, utc_now
from shared.brokers.limits import PatientLimits, address_of
from shared.brokers.port.connection import BrokerConnection
from shared.brokers.registry import connect
from shared.config import Settings, database_is_usable, parse_broker, redis_is_usable, settings_of_stage
from shared.config.broker_variables import master_prefix
from shared.domain.accounts.master_state import MasterState
from shared.domain.identity import Broker, MasterAccount
from shared.messaging.circuit import RedisCircuit
from shared.messaging.connection.connect import open_blocking_redis
from shared.messaging.connection.epoch import guarded_redis
from shared.messaging.keys import BrokerKeys
from shared.messaging.lease import Lease, process_token
from shared.messaging.nonces import RedisNonceSource
from shared.messaging.price_list import StoredPrices
from shared.messaging.rate_limits import RedisRateLimits
from shared.messaging.scripts import ScriptRunner
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.heartbeat import Heartbeat
from shared.observability.start import StageParser, Start, start_of
from shared.observability.vitals import Duty, Vitals
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills
from shared.presence import LoopLife, signs_of_life
from shared.queries.capital.sources import AccountName
from shared.queries.connections import Connections
from shared.running import GRACE_SECONDS, stop_by_signal, wait

# A broker has one master. Its name is in every copy order's id and in the ledger, so it stays when the key changes.
MASTER_ACCOUNT: Final = MasterAccount("master")
LEASE_SECONDS: Final = 5.0
"""How long the account goes unwatched after a crash at most, before the spare or a restarted process works."""

log = structlog.get_logger()


async def run(settings: Settings, broker: Broker, record: StageRecord, start: Start) -> None:
    """Wire everything and serve until SIGTERM or SIGINT. Raises NijaError at the start."""
    stopping = stop_by_signal()
    keys = BrokerKeys(broker)
    redis_url, database_url = settings.redis_url_for(broker), settings.required_database_url()
    vitals = Vitals(Heartbeat(settings.heartbeat_file), [broker])
    duty = vitals.duty(broker)
    redis = guarded_redis(redis_url, keys)
    blocking_redis = open_blocking_redis(redis_url, as_text=True)
    engine = open_engine(database_url, pool_size=2)
    scripts = ScriptRunner(redis)
    nonces = RedisNonceSource(scripts, keys, settings.nonce_above(broker))
    buckets = RedisRateLimits(scripts, keys)
    limits = PatientLimits(buckets) if settings.rate_limits else None
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
    lister = Lister(new_connection, redis, keys)
    report = Report(redis, keys, MASTER_ACCOUNT, token, utc_now)
    credentials = settings.master_credentials(broker)
    serving = [lister.serve(Lease(redis, keys.lister_lease, token, LEASE_SECONDS), stopping)]
    if credentials is None:
        serving.append(_without_master(settings, broker, report, stopping, duty))
    else:
        master = Master(
            name=MASTER_ACCOUNT,
            credentials=credentials,
            connect=new_connection,
            ledger=MasterFills(engine),
            redis=redis,
            keys=keys,
            report=report,
            price_lists=StoredPrices(redis, keys),
            named_values=settings.master_values(broker),
            address=address_of(settings.proxy(broker)),
        )
        lease = Lease(redis, keys.master_lease, token, LEASE_SECONDS)
        serving.append(serve(Watch(master), report, lease, stopping, settings.master_poll_seconds, duty))
        name = AccountName(broker=broker, account=MASTER_ACCOUNT)
        serving.append(monitor_capital(Connections(engine, {broker: blocking_redis}), name, stopping))
    try:
        async with signs_of_life(
            LoopLife(record, vitals), {broker: redis_url}, database_url, emergency_folders=settings.emergency_folders
        ):
            await database_is_usable(engine, stopping, duty.without_server)
            await redis_is_usable(settings, broker, stopping, duty.without_server)
            start.succeeded()
            log.info("master trader started", lease=token, has_master=credentials is not None)
            await _until(stopping, serving)
    finally:
        for each in serving:
            each.close()  # what was not started
        await buckets.release()
        await redis.aclose()
        blocking_redis.close()
        engine.dispose()
    log.info("master trader stopped")


async def _without_master(
    settings: Settings, broker: Broker, report: Report, stopping: asyncio.Event, duty: Duty
) -> None:
    """Report that no master account is configured, while the prices are listed."""
    prefix = master_prefix(broker)
    why = f"no master account is configured: set {prefix}_API_KEY and {prefix}_API_SECRET"
    log.warning("no master account is watched", reason=why)
    while not stopping.is_set():
        duty.worked()
        await report.trouble(MasterState.FAILED, why, 1)
        await wait(stopping, settings.master_poll_seconds)


async def _until(stopping: asyncio.Event, serving: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Run `serving`; what takes longer than the grace once `stopping` is set is cut short."""
    tasks = [asyncio.create_task(each) for each in serving]
    # None of them ends before `stopping`, unless by a defect.
    await asyncio.wait([*tasks, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
    _, hanging = await asyncio.wait(tasks, timeout=GRACE_SECONDS if stopping.is_set() else 0)
    for task in hanging:
        task.cancel()
    if hanging and stopping.is_set():
        log.warning("cut short what was under way", after_seconds=GRACE_SECONDS)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(result, Exception):
            raise result


def main() -> None:
    parser = StageParser(prog="master_trader", description="Watch the master account of one broker.")
    parser.add_argument("--broker", required=True, help="whose master account: " + ", ".join(Broker))
    arguments = parser.parse_args()
    with start_of("master_trader", debug=arguments.debug) as start:
        broker = parse_broker(arguments.broker, "--broker")
        record = StageRecord.of_this_process(Stage.MASTER_TRADER)
        settings = settings_of_stage(start, broker, record=record)
        settings.redis_url_for(broker)
        open_engine(settings.required_database_url()).dispose()
        uvloop.run(run(settings, broker, record, start))


if __name__ == "__main__":
    main()
