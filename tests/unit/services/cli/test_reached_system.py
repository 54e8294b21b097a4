"""A command knows whether the system that it reaches is one on paper."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.arguments import reached_settings, reached_system, running_system
from services.local_system import lock
from services.local_system.errors import NothingRuns
from services.local_system.record import RunRecord
from shared.config import load_settings

ELSEWHERE = "postgresql://ann@elsewhere/nija"
HERE = "postgresql://ann@127.0.0.1:7000/nija"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, in an environment that names no server."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"NIJA_HOME": str(tmp_path), "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}.items():
        monkeypatch.setenv(name, value)
    return tmp_path


@pytest.fixture(params=[True, False])
def paper(home: Path, request: pytest.FixtureRequest) -> Iterator[bool]:
    """A nija runs on the data folder: once on paper, once at real brokers."""
    with lock.exclusive(home):
        record = RunRecord(home)
        record.open("test")
        record.write_environment(
            "test", {"DATABASE_URL": HERE, "REDIS_URL": "redis://127.0.0.1/0"}, paper=request.param
        )
        yield bool(request.param)


def test_the_nija_that_runs_here_decides_whether_its_accounts_are_paper(paper: bool) -> None:
    """Its record says so, for every command that reaches it."""
    for found in (reached_system(), running_system(load_settings())):
        assert (found.settings.required_database_url(), found.all_paper) == (HERE, paper)
    assert reached_settings().required_database_url() == HERE


@pytest.mark.usefixtures("paper")
def test_a_database_elsewhere_is_never_taken_for_the_paper_system_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real keys that may withdraw would otherwise be accepted there, because a paper system runs in this folder."""
    monkeypatch.setenv("DATABASE_URL", ELSEWHERE)
    found = reached_system()
    assert (found.settings.required_database_url(), found.all_paper) == (ELSEWHERE, False)


@pytest.mark.usefixtures("home")
def test_without_a_running_nija_the_named_servers_are_not_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without servers that are named, there is nothing to reach."""
    with pytest.raises(NothingRuns):
        reached_system()
    monkeypatch.setenv("DATABASE_URL", ELSEWHERE)
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere/0")
    assert not running_system(load_settings()).all_paper
