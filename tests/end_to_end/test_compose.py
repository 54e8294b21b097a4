"""Tests that the commands and environments of the compose file, run as local processes, copy fills."""

import base64
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from sqlalchemy import Engine

from services.demo.person import Person
from services.demo.scenario import steps
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.paper_accounts import quote_currency, trader_key_file
from services.local_system.processes import Surroundings, api_spec, paper_broker_spec, service_specs, trader_specs
from shared.config import Settings, load_settings
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys, queue_name
from shared.persistence.database import open_engine
from shared.persistence.reports.reports import Reports
from tests.end_to_end.compose import LocalCompose, read_services, with_needs

SETTLED_SECONDS = 60
FOLLOWERS = 3
SERVICES = read_services()
PAPER = [name for name, service in SERVICES.items() if "paper" in service["profiles"]]
Found = TypeVar("Found")


def until(condition: Callable[[], Found], what: str, seconds: float = SETTLED_SECONDS) -> Found:
    """The first true value of `condition`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return found


def services_of(brokers: Sequence[Broker]) -> list[str]:
    """The paper services without those of other brokers."""
    others = tuple(f"-{broker.value}" for broker in Broker if broker not in brokers)
    return [name for name in PAPER if not name.endswith(others)]


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database: the file's own migration fills it."""
    yield postgres_server.create_database("compose")
    postgres_server.drop_database("compose")


@pytest.fixture
def compose(tmp_path: Path, database: str) -> Iterator[Callable[[Sequence[Broker]], LocalCompose]]:
    """Starts the profile `paper` of the given brokers."""
    started: list[LocalCompose] = []

    def up(brokers: Sequence[Broker]) -> LocalCompose:
        names = ",".join(broker.value for broker in brokers)
        local = LocalCompose(
            read_services({"NIJA_PAPER_BROKERS": names, "NIJA_PAPER_STRATEGY": "false"}), tmp_path, database
        )
        started.append(local)
        local.up(with_needs(local.services, services_of(brokers), only=services_of(brokers)))
        for name in services_of(brokers):
            if "healthcheck" in local.services[name] and "test" in local.services[name]["healthcheck"]:
                local.wait_healthy(name)
        return local

    yield up
    for local in started:
        local.stop()


async def copy_a_fill(local: LocalCompose, broker: Broker, engine: Engine) -> None:
    """A person buys on the master account; every follower has it in the end."""
    with redis.Redis(port=local.ports["paper-redis"], password="paper") as client:
        until(lambda: client.hlen(BrokerKeys(broker).accounts) == FOLLOWERS, f"accounts of {broker.value} are read")
    volume = local.volume("paper-accounts")
    key = Credentials.model_validate(json.loads(trader_key_file(volume, broker).read_text()))
    url = f"http://127.0.0.1:{local.ports[f'paper-broker-{broker.value}']}"
    async with Person(broker, url, key, Decimal(100_000)) as person:
        for step in steps(1, quote_currency(broker), ("BTC",)):
            placed = await person.trade(step)

    def all_copied() -> bool:
        fills = [fill for fill in Reports(engine).fills(broker=broker) if fill.fill_id in placed.fill_ids]
        return len(fills) == len(placed.fill_ids) and all(fill.copied == FOLLOWERS for fill in fills)

    until(all_copied, f"the fill at {broker.value} is copied to {FOLLOWERS} followers")


def ask_flower(port: int, path: str, login: str | None) -> tuple[int, Any]:
    """Status and document of Flower's answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    if login is not None:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310  loopback
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


async def copies_and_shows(local: LocalCompose, brokers: Sequence[Broker], database: str) -> None:
    """A fill of each broker is copied, Flower shows the queues, workers and drains, and everything ends well."""
    engine = open_engine(database)
    try:
        for broker in brokers:
            await copy_a_fill(local, broker, engine)
    finally:
        engine.dispose()
    port = local.ports["paper-flower"]
    login = (local.volume("paper-accounts") / "flower-password").read_text().strip()
    for refused in (None, "paper:guessed"):
        for path in ("/api/workers", "/api/tasks", "/api/queues/length", "/"):
            assert ask_flower(port, path, refused)[0] == 401, path

    queues = {queue_name(broker) for broker in brokers}
    # Flower asks workers that it has seen; `refresh` makes it ask now.
    found = until(
        lambda: (
            (
                shown
                if queues <= {queue["name"] for worker in shown.values() for queue in worker.get("active_queues", [])}
                else None
            )
            if (shown := ask_flower(port, "/api/workers?refresh=1", login)[1])
            else None
        ),
        "Flower shows the workers",
    )
    assert {name.split("@")[0] for name in found} == {broker.value for broker in brokers}
    lengths = ask_flower(port, "/api/queues/length", login)[1]["active_queues"]
    assert {queue["name"] for queue in lengths} == queues
    drained_by = until(
        lambda: (
            workers
            if len(workers := {task["worker"].split("@")[0] for task in drains(port, login)}) == len(brokers)
            else None
        ),
        "Flower shows a drain of each broker",
    )
    assert drained_by == {broker.value for broker in brokers}
    codes = local.stop()
    assert codes == dict.fromkeys(codes, 0)
    for broker in brokers:
        # The worker's children write to the same log as their parent, and not a line for each hint.
        written = (local.folder / f"paper-broker-worker-{broker.value}.log").read_text()
        assert '"drained"' in written
        assert "Task drain" not in written


def drains(port: int, login: str) -> list[dict[str, Any]]:
    """The finished drains that Flower knows."""
    tasks: dict[str, dict[str, Any]] = ask_flower(port, "/api/tasks?state=SUCCESS", login)[1]
    # Flower does not know the name of a task that began before Flower listened.
    assert {task["name"] for task in tasks.values()} <= {"drain", None}
    return list(tasks.values())


@pytest.mark.long
async def test_the_services_of_one_broker_copy_a_fill_and_flower_shows_its_drains(
    compose: Callable[[Sequence[Broker]], LocalCompose], database: str
) -> None:
    """Servers, migration, accounts, followers, stages and Flower, each started by its own line of the file."""
    await copies_and_shows(compose([Broker.KRAKEN]), [Broker.KRAKEN], database)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_the_services_of_all_brokers_copy_and_flower_shows_five_queues(
    compose: Callable[[Sequence[Broker]], LocalCompose], database: str
) -> None:
    """The whole profile `paper`, as `docker compose --profile paper up` starts it."""
    await copies_and_shows(compose(list(Broker)), list(Broker), database)


def test_redis_keeps_every_write_and_forgets_nothing(tmp_path: Path) -> None:
    """The file's Redis, run by its own command: on disk before the reply, refusing when full, and not without a password."""
    for name in ("redis", "paper-redis"):
        local = LocalCompose(read_services({"REDIS_PASSWORD": "paper"}), tmp_path / name, "")
        local.folder.mkdir()
        try:
            local.up([name])
            local.wait_healthy(name)
            with redis.Redis(port=local.ports[name], password="paper", decode_responses=True) as client:
                wanted = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction", "save": ""}
                assert {option: client.config_get(option)[option] for option in wanted} == wanted
        finally:
            local.stop()
    without = LocalCompose(read_services(), tmp_path, "")
    without.up(["redis"])
    assert without.processes["redis"].wait(20) != 0
    assert "REDIS_PASSWORD" in without.log("redis")


def test_a_profile_starts_its_broker_and_no_other() -> None:
    """Per broker its three stages; the shared services with any broker; paper is apart; nothing runs unasked."""
    assert all(service.get("profiles") for service in SERVICES.values())
    for broker in Broker:
        active = {name for name, service in SERVICES.items() if broker.value in service["profiles"]}
        assert active == {
            *("settings", "redis", "postgres", "migrate", "followers", "bookkeeper", "copy-engine", "flower", "api"),
            *(f"{stage}-{broker.value}" for stage in ("master-trader", "strategy-trader", "broker-worker")),
        }
        assert set(with_needs(SERVICES, sorted(active))) == active
    assert set(with_needs(SERVICES, PAPER)) == set(PAPER)
    assert {f"paper-broker-{broker.value}" for broker in Broker} <= set(PAPER)


def test_paper_is_given_no_key_and_reaches_no_live_server() -> None:
    """No service of the profile reads `.env` or a volume or network of the live ones; live ones read no paper key."""
    for name in PAPER:
        service = SERVICES[name]
        assert "env_file" not in service
        assert set(service["networks"]) <= {"paper", "outside"}
        assert {mount.split(":")[0] for mount in service.get("volumes", [])} <= {
            "paper",
            "paper-redis",
            "paper-postgres",
            # The file EMERGENCY_STOP, which stops the whole machine.
            "./emergency",
        }
        if "NIJA_BROKERS" in service.get("environment", {}):
            for broker in Broker:
                url = service["environment"][f"{broker.name}_BASE_URL"]
                assert url == f"http://paper-broker-{broker.value}:8000"
    for name, service in SERVICES.items():
        if name not in PAPER:
            assert "paper" not in json.dumps(service)


def test_ports_are_published_on_loopback_only() -> None:
    """Flower's metrics and the paper brokers' own API ask for no password, and nija's API has no TLS."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 9
    assert len({port.rsplit(":", 1)[0] for port in ports}) == 9
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_nothing_in_the_file_is_a_secret() -> None:
    """Passwords come from the environment; only paper has one of its own, which opens nothing."""
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if variable.endswith(("PASSWORD", "KEY", "SECRET", "AUTH", "PASSPHRASE")):
                assert value in ("", "paper"), f"{name}: {variable}"


def commands_on_one_machine(settings: Settings, folder: Path) -> dict[str, list[str]]:
    """Name of the service → what `nija up` runs for it, without the Python before it."""
    around = Surroundings({}, folder, lambda name: folder / name, folder)
    brokers = list(Broker)
    specs = [*service_specs(settings, brokers, around), *trader_specs(brokers, around), api_spec(8300, around)]
    specs += [paper_broker_spec(broker, 8000, folder, around, seed=1, candles=None) for broker in Broker]
    return {spec.name.replace("_", "-"): list(spec.command)[3:] for spec in specs}


def test_the_stages_are_started_as_nija_up_starts_them(tmp_path: Path) -> None:
    """Live and paper services run the same modules with the same options as on one machine."""
    on_one_machine = commands_on_one_machine(load_settings({"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}), tmp_path)
    for name, command in on_one_machine.items():
        if name.startswith("paper-broker"):
            assert SERVICES[name]["command"][3:6] == command[:3]
            continue
        for service in (SERVICES[name], SERVICES[f"paper-{name}"]):
            own = service["command"] if service["command"][0] == "celery" else service["command"][3:]
            if name == "api":
                # In a container it listens for the published port, and not on loopback.
                own = [own[0], *own[3:]]
            assert own == command, name
    known = {"flower", "settings", "migrate", "followers", "accounts", "redis", "postgres", *on_one_machine}
    assert {name.removeprefix("paper-") if name not in on_one_machine else name for name in SERVICES} == known
