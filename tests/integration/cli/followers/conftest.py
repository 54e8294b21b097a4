"""Runs `nija followers` in the process of the test, and checks that no output contains the secret."""

import io
import os
import sys
from pathlib import Path

import pytest
from cryptography.fernet import Fernet

from services.cli.app import main
from tests.integration.cli.followers.command import API_KEY, MASTER_KEY, SECRET, Done, Nija


@pytest.fixture
def environment(fresh_redis_url: str, fresh_database_url: str, tmp_path: Path) -> dict[str, str]:
    """The settings of a system with a master at Kraken."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "KRAKEN_MASTER_API_KEY": MASTER_KEY,
        "KRAKEN_MASTER_API_SECRET": SECRET,
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }


@pytest.fixture
def nija(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Nija:
    """Run `nija followers …` in this process, and check that the output contains no secret."""

    def run(*arguments: str, given: str = "", **variables: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(os, "environ", environment | variables)
            patch.setattr(sys, "argv", ["nija", "followers", *arguments])
            patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
            capfd.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        output = capfd.readouterr()
        assert SECRET not in output.out + output.err
        return Done(int(ended.value.code or 0), output.out, output.err)

    return run


@pytest.fixture
def alice(nija: Nija) -> None:
    """A follower that was added with its key in the environment."""
    done = nija("add", "alice", "--broker", "kraken", NIJA_FOLLOWER_API_KEY=API_KEY, NIJA_FOLLOWER_API_SECRET=SECRET)
    assert done.returncode == 0, done.stderr
