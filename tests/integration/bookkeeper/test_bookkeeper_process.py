"""The bookkeeper works as a process that is started by its command, killed at any moment or stopped by SIGTERM."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import Engine, text

from shared.domain.copying.reasons import SkipReason
from shared.domain.events import Event
from shared.domain.identity import Broker
from shared.messaging.keys import EVENT_FIELD, BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.ledger.master_fills import MasterFills, ObservedFill
from tests.support.examples import NOW, an_account_fill
from tests.support.ledger_examples import a_batch, a_decision, a_filled_event, an_order_event
from tests.support.servers.processes import a_process, until

KEYS = BrokerKeys(Broker.KRAKEN)


@pytest.fixture
def engine(fresh_database_url: str) -> Iterator[Engine]:
    """An empty, migrated database."""
    engine = open_engine(fresh_database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The environment of a bookkeeper for Kraken."""
    return {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path),
        "NIJA_BROKERS": "kraken",
        "NIJA_HEARTBEAT_FILE": str(tmp_path / "heartbeat"),
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


def a_bookkeeper(environment: dict[str, str], log: Path) -> AbstractContextManager[subprocess.Popen[bytes]]:
    return a_process("services.bookkeeper.app", environment, log)


def tell(redis: Redis, events: Sequence[Event]) -> None:
    with redis.pipeline(transaction=False) as pipeline:
        for event in events:
            pipeline.xadd(KEYS.events, {EVENT_FIELD: event.model_dump_json()})
        pipeline.execute()


def order_events(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM order_events")).scalar_one())


@pytest.mark.long
def test_killed_again_and_again_it_writes_each_event_once(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """Killed three times by kill -9 between events, the bookkeeper still writes every event as exactly one row.

    In the end the stream is empty.
    """
    number = 3000
    events = [event for n in range(number) for event in (an_order_event(f"f{n}"), a_filled_event(f"f{n}"))]
    with Redis.from_url(environment["REDIS_URL"]) as redis:
        tell(redis, events)
        for _ in range(3):
            seen = order_events(engine)
            with a_bookkeeper(environment, tmp_path / "log"):
                until(lambda seen=seen: order_events(engine) > min(seen, 2 * number - 1), "some progress")
        with a_bookkeeper(environment, tmp_path / "log"):
            until(lambda: redis.xlen(KEYS.events) == 0, "an empty stream")
    assert order_events(engine) == 2 * number


def test_sigterm_ends_it_with_everything_written_and_code_0(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """A stop is quick and leaves no pending event. The heartbeat file exists."""
    with (
        Redis.from_url(environment["REDIS_URL"]) as redis,
        a_bookkeeper(environment, tmp_path / "log") as process,
    ):
        tell(redis, [an_order_event()])
        until(lambda: order_events(engine) == 1, "the event in the ledger")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
        assert redis.xpending(KEYS.events, "ledger")["pending"] == 0
    assert (tmp_path / "heartbeat").exists()


def test_a_broker_without_redis_does_not_hold_up_another(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """The Redis of OKX is not reachable, and the events of Kraken are written nevertheless."""
    environment |= {"NIJA_BROKERS": "okx,kraken", "OKX_REDIS_URL": "redis://127.0.0.1:1/0"}
    with Redis.from_url(environment["REDIS_URL"]) as redis, a_bookkeeper(environment, tmp_path / "log"):
        tell(redis, [an_order_event()])
        until(lambda: order_events(engine) == 1, "the event in the ledger")
        until(lambda: "redis is away" in (tmp_path / "log").read_text(), "a line about the missing Redis")


def test_a_brokers_defect_does_not_hold_up_another(environment: dict[str, str], engine: Engine, tmp_path: Path) -> None:
    """The part of the ledger for OKX is unreadable at every try, and the events of Kraken are written nevertheless."""
    environment |= {"NIJA_BROKERS": "okx,kraken"}
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO account_snapshots VALUES ('okx', 'alice', now(), 1, 1, 0, 0, '[{}]', false)")
        )

    def failures() -> int:
        return (tmp_path / "log").read_text().count("the loop of a broker failed")

    with (
        Redis.from_url(environment["REDIS_URL"]) as redis,
        a_bookkeeper(environment, tmp_path / "log") as process,
    ):
        until(lambda: failures() > 1, "OKX's books fail, and are tried again")
        tell(redis, [an_order_event()])
        until(lambda: order_events(engine) == 1, "the event in the ledger")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_rounds_over_accounts_of_one_broker_do_not_hold_up_another(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """The Redis of OKX is not reachable, and the accounts of Kraken are compared in every interval.

    SIGTERM ends the process as quickly as otherwise.
    """
    environment |= {
        "NIJA_BROKERS": "okx,kraken",
        "OKX_REDIS_URL": "redis://127.0.0.1:1/0",
        "NIJA_RECONCILE_EVERY_SECONDS": "1",
    }

    def lines(event: str, broker: str) -> int:
        found = map(json.loads, (tmp_path / "log").read_text().splitlines())
        return sum(line["event"] == event and line.get("broker") == broker for line in found)

    with a_bookkeeper(environment, tmp_path / "log") as process:
        until(lambda: lines("accounts reconciled", "kraken") > 1, "two rounds over Kraken's accounts")
        until(lambda: lines("accounts not reconciled", "okx") > 1, "lines about OKX's missing Redis")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_fill_whose_copies_have_ended_gets_one_line_of_json(
    environment: dict[str, str], engine: Engine, tmp_path: Path
) -> None:
    """The line is in the log of the process, once, also after a restart. Its numbers are numbers, not text."""
    fill = an_account_fill(executed_at=NOW)
    MasterFills(engine).record(Broker.KRAKEN, "main", [ObservedFill(fill, Decimal(1))], NOW)

    def ended() -> list[dict[str, object]]:
        found = map(json.loads, (tmp_path / "log").read_text().splitlines())
        return [line for line in found if line["event"] == "fill ended"]

    with Redis.from_url(environment["REDIS_URL"]) as redis:
        skipped = a_decision("bob", skip_reason=SkipReason.PAUSED, quantity=None)
        tell(redis, [a_batch(a_decision("alice"), skipped), an_order_event(), a_filled_event()])
        # A bookkeeper that has not written the events yet would see a fill without any follower.
        with a_bookkeeper(environment, tmp_path / "earlier"):
            until(lambda: order_events(engine) == 2, "the events in the ledger")
        with engine.begin() as connection:
            connection.execute(text("UPDATE fill_lines SET ended_at = NULL"))
        with a_bookkeeper(environment, tmp_path / "log"):
            until(lambda: len(ended()) == 1, "the line of the fill")
    [line] = ended()
    assert (line["process"], line["broker"], line["level"]) == ("bookkeeper", "kraken", "info")
    assert (line["sequence"], line["total"], line["copied"], line["skipped_by_reason"]) == (1, 2, 1, {"paused": 1})
    assert line["took_seconds"] == 4.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"DATABASE_URL": "mysql://hunter2@host/db"}, "DATABASE_URL"),
        ({"NIJA_BROKERS": "kracken"}, "NIJA_BROKERS"),
        ({"REDIS_URL": ""}, "REDIS_URL"),
    ],
)
def test_a_wrong_setting_ends_it_with_code_2_and_its_name(
    environment: dict[str, str], change: dict[str, str], named: str
) -> None:
    """The text names the wrong setting and shows no password."""
    done = subprocess.run(
        [sys.executable, "-m", "services.bookkeeper.app"],
        env=environment | change,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert named in done.stderr
    assert "hunter2" not in done.stderr
