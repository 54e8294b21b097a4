"""Tests the Compose profile of one broker on a real engine, with keys in `.env` and a paper broker at its BASE_URL."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.local_system.paper_accounts import paper_variables, trader_key_file
from shared.domain.accounts.credentials import Credentials
from shared.domain.identity import Broker
from tests.containers.project import Project, service_of, stages
from tests.containers.report import Results
from tests.containers.trading import ROUND, Trader, trade_once
from tests.containers.verdict import answers, is_known, wait_copied
from tests.containers.waiting import until
from tests.end_to_end.compose import read_services

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

BROKER = Broker.KRAKEN
LIVE = [name for name, service in read_services().items() if BROKER.value in service["profiles"]]
SHARES = {"paper_one": Decimal("0.1"), "paper_two": Decimal("0.025"), "paper_three": Decimal("0.5")}
STANDS_FOR_KRAKEN = "stands-for-kraken"
PAPER_BROKER = "python -P -m services.paper_broker.app --broker kraken --host 0.0.0.0 --port 8000"
NEEDED = {
    "COMPOSE_PROFILES": BROKER.value,
    "REDIS_PASSWORD": "redispassword",
    "POSTGRES_PASSWORD": "postgrespassword",
    "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
    "NIJA_FLOWER_BASIC_AUTH": "operator:flowerpassword",
}


@pytest.fixture
def project(image: str, tmp_path: Path) -> Iterator[Project]:
    """The profile of Kraken, with a container in its place; nothing runs yet."""
    made = Project(
        "nija-test-live",
        BROKER.value,
        tmp_path,
        added={
            STANDS_FOR_KRAKEN: {
                "command": PAPER_BROKER.split(),
                "networks": ["servers", "outside"],
                "ports": ["127.0.0.1::8000"],
                "healthcheck": {"disable": True},
            }
        },
    )
    made.remove()
    yield made
    made.remove()


def write_env(project: Project, variables: Mapping[str, str]) -> None:
    """Write `.env` as a person would."""
    lines = [f"{name}={value}\n" for name, value in variables.items()]
    (project.folder / ".env").write_text("".join(lines))


def test_one_broker_copies_with_keys_in_env(project: Project, results: Results) -> None:
    """Followers are registered from `.env`, a person's trades are copied, and the commands of the docs answer."""
    with results.check("live: one broker copies, with keys in .env") as row:
        project.up(STANDS_FOR_KRAKEN)
        url = f"http://127.0.0.1:{project.port(STANDS_FOR_KRAKEN, 8000)}"
        until(partial(answers, url), "the broker answers")
        keys = paper_variables(BROKER, url, project.folder / "keys.json")
        trader = Trader(
            BROKER, url, Credentials.model_validate_json(trader_key_file(project.folder, BROKER).read_text())
        )
        write_env(project, {**NEEDED, **keys, "KRAKEN_BASE_URL": f"http://{STANDS_FOR_KRAKEN}:8000"})
        project.up()
        project.wait_healthy(stages(LIVE))
        assert "3 followers in the environment" in project.logs("followers")
        until(
            lambda: is_known(project.exec("copy-engine", "nija", "accounts", "--json"), len(SHARES)),
            "every account is read",
        )
        trade_once([trader])
        wait_copied(url, SHARES, fills=ROUND)
        until(lambda: copies_shown(project) == [len(SHARES)] * ROUND, "`nija fills` shows the copies")
        row.note = f"{ROUND} fills, {ROUND * len(SHARES)} copies, 0 wrong"


def copies_shown(project: Project) -> list[int]:
    """How often each fill was copied, as `nija fills` says in a container."""
    return [fill["copied"] for fill in json.loads(project.exec("copy-engine", "nija", "fills", "--json"))]


@pytest.mark.parametrize("missing", [*NEEDED, "KRAKEN_MASTER_API_KEY"])
def test_without_a_needed_variable_nothing_starts(project: Project, results: Results, missing: str) -> None:
    """`docker compose up` fails. One line says which variable is missing and where to set it; nothing runs or restarts."""
    keys = {"KRAKEN_MASTER_API_KEY": "a-key", "KRAKEN_MASTER_API_SECRET": "YS1zZWNyZXQ="}
    variables = {**NEEDED, **keys}
    del variables[missing]
    write_env(project, variables)
    with results.check(f"live: refused without {missing}") as row:
        done = project.attempt("up", "--detach", "--no-build", *LIVE)
        assert done.returncode != 0
        assert 'service "settings" didn\'t complete successfully: exit 2' in done.stderr
        (line,) = project.logs("settings").strip().splitlines()
        assert missing in line
        assert ".env" in line
        running = [service_of(state) for state in project.states() if state["State"]["Status"] != "created"]
        assert running == ["settings"]
        row.note = line
