"""Tests the Compose profile `paper` on a real engine: it runs, copies, scales, is broken, is replaced, and ends.

The tests run in this order on one project. Every one ends with the same verdict: by the paper brokers' own logs no
copy is missing, doubled or of a wrong size.
"""

import json
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from shared.domain.identity import Broker
from shared.messaging.keys import queue_name
from tests.containers.docker import End, logs_of, watching_ends
from tests.containers.faults import Cut, Fault, kill
from tests.containers.paper import ACCOUNTS, SHARES, STAGES, Paper
from tests.containers.report import Results
from tests.containers.trading import Trading, trade_once
from tests.containers.waiting import until
from tests.end_to_end.compose import read_services
from tests.end_to_end.test_compose import ask_flower

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

CUT_SECONDS = 30
PAUSE_SECONDS = 4
"""Between two faults: each person trades once or twice."""
RECOVERY_SECONDS = 180
"""The longest that the copies of a fault's time may take when it is over. The next fault comes afterwards."""
KRAKEN_WORKERS = 3
SHARED_SECONDS = 400
"""How long each of these workers may wait for its first hint. One worker, as if by lot, gets the hint of a fill."""
ALL = tuple(Broker)
"""Whose copies a fault holds up that concerns every broker."""
SILENT: tuple[Broker, ...] = ()
"""The fault holds up no copy at all."""


@pytest.fixture(scope="module")
def paper(image: str, tmp_path_factory: pytest.TempPathFactory, results: Results) -> Iterator[Paper]:
    """The whole profile, started; removed at the end, whatever happened."""
    started = Paper(tmp_path_factory.mktemp("paper"))
    started.project.remove()  # what an interrupted run left behind
    try:
        with results.check("paper: every service is healthy") as row:
            started.up()
            row.note = f"{len(STAGES)} services"
        yield started
    finally:
        started.project.remove()


@contextmanager
def judged(paper: Paper, results: Results, name: str) -> Iterator[None]:
    """Wait until the copying has settled, and require that nothing is missing, doubled or of a wrong size."""
    with results.check(name) as row:
        yield
        assert paper.ground.settle() == {}
        fills = [each for broker in Broker for each in paper.ground.executions(broker)]
        of_masters = sum(each.account == "master" for each in fills)
        row.note = f"{of_masters} fills, {len(fills) - of_masters} copies, 0 wrong"


def test_every_service_is_healthy_and_a_persons_trades_are_copied(paper: Paper, results: Results) -> None:
    """A round of trades at each broker through ccxt or alpaca-py; every follower has every fill once, in its size."""
    paper.import_followers()
    until(lambda: set(paper.accounts_read().values()) == {len(SHARES)}, "every account is read")
    with judged(paper, results, "ccxt and alpaca-py trades are copied at five brokers"):
        trade_once(paper.traders)
    assert {broker: len(paper.ground.executions(broker)) for broker in Broker} == dict.fromkeys(
        Broker, 4 * (1 + len(SHARES))
    )


def test_three_workers_of_one_broker_share_its_followers(paper: Paper, results: Results) -> None:
    """Each of three workers serves followers' orders, and Flower shows five queues and seven workers."""
    project = paper.project
    since = datetime.now(UTC)
    with judged(paper, results, f"{KRAKEN_WORKERS} workers at Kraken share its followers"), Trading(paper.traders):
        project.up("--no-recreate", "--scale", f"paper-broker-worker-kraken={KRAKEN_WORKERS}")
        workers = project.containers("paper-broker-worker-kraken")
        assert len(workers) == KRAKEN_WORKERS
        project.wait_healthy(["paper-broker-worker-kraken"])
        until(
            lambda: all(served(worker, since) for worker in workers),
            "each worker at Kraken has carried out orders",
            SHARED_SECONDS,
            instead=lambda: "\n".join(
                f"{served(worker, since)} times\n{logs_of(worker)[-8_000:]}" for worker in workers
            ),
        )
    orders = [served(worker, since) for worker in workers]
    results.rows[-1].note += f"; {' + '.join(map(str, orders))} times served at Kraken"
    with results.check("Flower shows the queues and the workers") as row:
        row.note = until(lambda: shown_by_flower(paper), "Flower shows five queues and every worker")


def served(worker: str, since: datetime) -> int:
    """How often a worker has served a follower with orders since then, by the log of its container."""
    lines = logs_of(worker, since).splitlines()
    return sum(json.loads(line)["followers_with_orders"] for line in lines if '"drained"' in line)


def shown_by_flower(paper: Paper) -> str:
    """A description once Flower shows every queue and worker; empty until then."""
    port = paper.project.port("paper-flower", 5555)
    login = paper.project.exec("paper-flower", "cat", f"{ACCOUNTS}/flower-password")
    assert ask_flower(port, "/api/workers", "paper:guessed")[0] == 401
    shown = ask_flower(port, "/api/workers?refresh=1", login)[1] or {}
    lengths = ask_flower(port, "/api/queues/length", login)[1]["active_queues"]
    queues = {queue["name"] for worker in shown.values() for queue in worker.get("active_queues", [])}
    by_broker = Counter(name.partition("@")[0] for name in shown)
    wanted = {**dict.fromkeys((broker.value for broker in Broker), 1), Broker.KRAKEN.value: KRAKEN_WORKERS}
    if queues != set(map(queue_name, Broker)) or {queue["name"] for queue in lengths} != queues or by_broker != wanted:
        return ""
    return f"{len(queues)} queues, {len(shown)} workers"


def test_containers_that_are_killed_come_back_and_nothing_is_lost(paper: Paper, results: Results) -> None:
    """Each kind of container gets SIGKILL while people trade. The engine starts it again; copying goes on."""
    paper.project.up("--no-recreate", "--scale", "paper-broker-worker-kraken=1")
    kills = {
        "paper-master-trader-coinbase": [Broker.COINBASE],
        "paper-broker-worker-kraken": [Broker.KRAKEN],
        "paper-copy-engine": ALL,
        "paper-broker-okx": [Broker.OKX],
        "paper-bookkeeper": ALL,
        "paper-flower": SILENT,
        "paper-api": SILENT,
        "paper-redis": ALL,
        "paper-postgres": ALL,
    }
    with judged(paper, results, "SIGKILL: nothing is lost or doubled"), Trading(paper.traders):
        for service, brokers in kills.items():
            time.sleep(PAUSE_SECONDS)
            report(paper, results, kill(paper.project, service, brokers))
        paper.project.wait_healthy(STAGES)


def test_containers_that_are_cut_off_come_back_and_nothing_is_lost(paper: Paper, results: Results) -> None:
    """Half a minute without network while people trade: a worker, a master and the engine; then Redis; PostgreSQL."""
    project = paper.project
    with judged(paper, results, "cut off: nothing is lost or doubled"), Trading(paper.traders):
        time.sleep(PAUSE_SECONDS)
        worker = Cut(project, "paper-broker-worker-kraken", "paper", [Broker.KRAKEN])
        master = Cut(project, "paper-master-trader-coinbase", "paper", [Broker.COINBASE])
        time.sleep(PAUSE_SECONDS)
        engine = Cut(project, "paper-copy-engine", "paper", [Broker.OKX, Broker.BINANCE, Broker.ALPACA])
        time.sleep(CUT_SECONDS - PAUSE_SECONDS)
        faults = [worker.end(), master.end()]
        time.sleep(PAUSE_SECONDS)
        faults.append(engine.end())
        for fault in faults:
            report(paper, results, fault)
        for server in ("paper-redis", "paper-postgres"):
            cut = Cut(project, server, "paper", ALL)
            time.sleep(CUT_SECONDS)
            report(paper, results, cut.end())
        paper.project.wait_healthy(STAGES)


def report(paper: Paper, results: Results, fault: Fault) -> None:
    """Wait until every fill is copied that was made before the container was back, and write down how long it took."""
    with results.check(fault.name.replace("paper-", "")) as row:
        copied_at = until(
            lambda: paper.ground.copied_at(fault.brokers, fault.began_at, fault.back_at),
            "the fills of that time are copied",
            RECOVERY_SECONDS,
            instead=lambda: what_is_late(paper, fault),
        )
        # Where nothing was traded meanwhile, or nothing waited, it took as long as the container was away.
        row.recovery = round((max(copied_at, fault.back_at) - fault.ended_at).total_seconds(), 1)


def what_is_late(paper: Paper, fault: Fault) -> str:
    """The copies at each broker, and what the container of the fault and those on the way of every copy logged last."""
    copies = {broker.value: paper.ground.copies([broker], fault.began_at, fault.back_at) for broker in fault.brokers}
    workers = (f"paper-broker-worker-{broker.value}" for broker in fault.brokers)
    services = dict.fromkeys((fault.service, "paper-copy-engine", "paper-bookkeeper", *workers))
    logs = [f"{service} logged\n{paper.project.logs(service)[-8_000:]}" for service in services]
    return "\n".join([str(copies), *logs])


BROKERS = [broker.value for broker in Broker]
REDIS = ["paper-redis"]
UPGRADE = (
    # The order of docs/deployment.md, "A new version"; then what nija only uses.
    ["paper-bookkeeper"],
    [f"paper-broker-worker-{name}" for name in BROKERS],
    ["paper-flower", "paper-api", *(f"paper-master-trader-{name}" for name in BROKERS)],
    [f"paper-strategy-trader-{name}" for name in BROKERS],
    ["paper-copy-engine"],
    [f"paper-broker-{name}" for name in BROKERS],
    REDIS,
    ["paper-postgres"],
)


def test_every_service_is_replaced_while_people_trade(paper: Paper, results: Results) -> None:
    """As an upgrade does: migrate first, engines last. Each old container ends in time with its exit code 0."""
    project = paper.project
    with watching_ends(project.name, project.folder / "upgrade.events") as ended:
        with judged(paper, results, "rolling replacement of every service"), Trading(paper.traders):
            project.compose("up", "--no-build", "--force-recreate", "paper-migrate")
            for services in UPGRADE:
                if services == REDIS:
                    copied_so_far(paper)
                # Without --no-deps: a container that was made with it is not stopped before its servers at the end.
                project.up("--force-recreate", *services)
            project.wait_healthy(STAGES)
        assert sorted(name for services in UPGRADE for name in services) == sorted(STAGES)
        assert {end.service for end in ended()} >= set(STAGES)
        assert badly_ended(ended()) == []


def copied_so_far(paper: Paper) -> None:
    """Wait, as docs/deployment.md says, until the mail is empty: what was traded until now is copied."""
    began_at, now = datetime.min.replace(tzinfo=UTC), datetime.now(UTC)
    until(
        lambda: paper.ground.copied_at(ALL, began_at, now),
        "the fills before the replacement of Redis are copied",
        RECOVERY_SECONDS,
        instead=lambda: str({broker: paper.ground.copies([broker], began_at, now) for broker in ALL}),
    )


def badly_ended(found: Sequence[End]) -> list[str]:
    """Those that ended with another exit code than 0, or later than their grace; not the gate of these tests."""
    services = read_services()
    return [
        f"{end.service}: exit code {end.exit_code} after {end.seconds:.1f} s"
        for end in found
        if end.service in services
        if end.exit_code != 0
        or end.seconds > float(str(services[end.service].get("stop_grace_period", "10s")).removesuffix("s"))
    ]


def test_everything_ends_in_time_and_without_an_error(paper: Paper, results: Results) -> None:
    """`docker compose down`: every container ends by itself within its grace, and logs no error on its way."""
    paper.copy_nonces()
    assert paper.ground.settle() == {}
    project = paper.project
    log = project.folder / "down.log"
    with results.check("down is graceful") as row, watching_ends(project.name, project.folder / "down.events") as ended:
        with log.open("w") as lines:
            # Follows every container until it has ended.
            following = subprocess.Popen(
                project.command("logs", "--follow", "--no-color", "--since", "0s"),
                cwd=project.folder,
                stdout=lines,
                stderr=lines,
            )
        time.sleep(1)
        project.compose("down")
        assert following.wait(30) == 0
        assert {end.service for end in ended()} >= set(STAGES)
        assert badly_ended(ended()) == []
        assert [line for line in log.read_text().splitlines() if is_error(line)] == []
        row.note = f"{len(ended())} containers, the slowest in {max(end.seconds for end in ended()):.1f} s"


def is_error(line: str) -> bool:
    """Whether a line of a log reports an error, in the words of nija, Python, Redis or PostgreSQL."""
    return bool(re.search(r'"level": ?"(error|critical)"|Traceback|\b(ERROR|FATAL|PANIC|CRITICAL)\b', line))
