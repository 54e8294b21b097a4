"""Tests that every command of k8s/ runs in the image under its manifest's constraints, and that its probes pass.

The pods of the example overlay run side by side on one Docker network, with Redis and PostgreSQL of `k8s/servers`, and
copy what people trade at paper brokers.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.local_system.paper_accounts import paper_variables, trader_key_file
from shared.config import master_prefix
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.containers.docker import docker, inspect
from tests.containers.manifests import Cluster, Manifest, pod_of, published_port, remove_all
from tests.containers.project import IMAGE
from tests.containers.report import Results
from tests.containers.trading import ROUND, Trader, trade_once
from tests.containers.verdict import answers, is_known, wait_copied
from tests.containers.waiting import until
from tests.unit.test_kubernetes import ALL

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

NAME = "nija-test-pods"
READY_SECONDS = 240
SHARES = {"paper_one": Decimal("0.1"), "paper_two": Decimal("0.025"), "paper_three": Decimal("0.5")}
PASSWORD = "a-password"
API_TOKEN = "a-token-of-the-api-that-is-long-enough"


def of_kind(kind: str) -> dict[str, Manifest]:
    """Name → manifest of every workload of that kind."""
    return {name: manifest for (its_kind, name), manifest in ALL.items() if its_kind == kind}


@pytest.fixture
def network(image: str) -> Iterator[str]:
    """An empty network; everything that was started on it is removed at the end."""
    remove_all(NAME)
    docker("network", "create", NAME)
    yield NAME
    remove_all(NAME)


def start_paper_brokers(folder: Path) -> tuple[list[Trader], dict[str, dict[str, str]]]:
    """Start the five paper brokers and make accounts; return who trades, and the Secrets with keys by their names."""
    for broker in Broker:
        options = f"--detach --init --network {NAME} --network-alias paper-{broker.value} --publish 127.0.0.1::8000"
        options += f" --label {NAME}=pod --name {NAME}-paper-{broker.value} --no-healthcheck"
        command = "python -P -m services.paper_broker.app --host 0.0.0.0 --port 8000 --broker"
        docker("run", *options.split(), IMAGE, *command.split(), broker.value)
    traders, secrets = [], {"followers": dict[str, str]()}
    for broker in Broker:
        url = f"http://127.0.0.1:{published_port(f'{NAME}-paper-{broker.value}', 8000)}"
        until(partial(answers, url), f"the paper broker at {url} answers")
        variables = paper_variables(broker, url, folder / f"{broker.value}-keys.json")
        of_master = {name: value for name, value in variables.items() if name.startswith(f"{master_prefix(broker)}_")}
        of_master = {name: value for name, value in of_master.items() if "_USER_" not in name}
        secrets[f"master-{broker.value}"] = of_master
        secrets["followers"] |= {name: value for name, value in variables.items() if name not in of_master}
        key = Credentials.model_validate_json(trader_key_file(folder, broker).read_text())
        traders.append(Trader(broker, url, key))
    return traders, secrets


def the_cluster(secrets: dict[str, dict[str, str]]) -> Cluster:
    """The overlay's ConfigMap with the paper brokers' addresses, and the Secrets that docs/deployment.md names."""
    addresses = {f"{broker.name}_BASE_URL": f"http://paper-{broker.value}:8000" for broker in Broker}
    servers = {
        "redis-password": PASSWORD,
        "redis-url": f"redis://:{PASSWORD}@redis:6379/0",
        "postgres-password": PASSWORD,
        "database-url": f"postgresql://nija:{PASSWORD}@postgres:5432/nija",
    }
    settings = of_kind("ConfigMap")["nija-settings"]["data"]
    return Cluster(
        NAME,
        {
            **secrets,
            "nija-settings": {**settings, **addresses},
            "nija-servers": servers,
            "nija-secret-key": {"secret-key": Fernet.generate_key().decode()},
            "nija-flower": {"basic-auth": f"operator:{PASSWORD}"},
            "nija-api": {"token": API_TOKEN},
        },
    )


def test_every_pod_runs_under_its_own_constraints(network: str, results: Results, tmp_path: Path) -> None:
    """User, read-only root, no capability, no new privilege, memory limit: all probes pass, trades are copied."""
    with results.check("k8s: every command runs under its constraints") as row:
        traders, secrets = start_paper_brokers(tmp_path)
        cluster, prober = the_cluster(secrets), f"{NAME}-paper-kraken"
        servers = of_kind("StatefulSet")
        running = {name: (manifest, cluster.start(manifest)) for name, manifest in servers.items()}
        for manifest, container in running.values():
            cluster.wait_ready(manifest, container, prober, READY_SECONDS)
        jobs = of_kind("Job")
        for name in ("migrate", "followers"):
            cluster.run_to_end(jobs.pop(name))
        assert not jobs
        stages = of_kind("Deployment")
        running |= {name: (manifest, cluster.start(manifest)) for name, manifest in stages.items()}
        for manifest, container in running.values():
            cluster.wait_ready(manifest, container, prober, READY_SECONDS)
        row.note = f"{len(running)} pods and 2 jobs, every probe passes"
    with results.check("k8s: the pods copy at five brokers") as row:
        accounts = ["exec", running["copy-engine"][1], "nija", "accounts", "--json"]
        until(lambda: is_known(docker(*accounts), len(SHARES) * len(Broker)), "every account is read")
        trade_until_copied(traders)
        usage = {name: memory_share(container) for name, (_, container) in running.items()}
        highest = max(usage, key=usage.__getitem__)
        row.note = f"memory: at most {usage[highest]:.0f} % of the limit ({highest})"
    with results.check("k8s: every pod ends within its grace") as row:
        # The stages first, as an installation is deleted: nothing is left that waits for a server.
        for name, (manifest, container) in reversed(running.items()):
            assert stopped(manifest, container) == 0, name


def trade_until_copied(traders: list[Trader]) -> None:
    """Trade a round at each broker; every follower copies it once and in its size."""
    trade_once(traders)
    for trader in traders:
        wait_copied(trader.url, SHARES, fills=ROUND)


def memory_share(container: str) -> float:
    """Per cent of its memory limit that a container uses; it was never ended for using more."""
    assert inspect(container)["State"]["OOMKilled"] is False
    return float(docker("stats", "--no-stream", "--format", "{{.MemPerc}}", container).removesuffix("%"))


def stopped(manifest: Manifest, container: str) -> int:
    """Ask the container to end within the manifest's grace; return its exit code (137: it did not end by itself)."""
    docker("stop", "--time", str(pod_of(manifest)["terminationGracePeriodSeconds"]), container)
    return int(inspect(container)["State"]["ExitCode"])
