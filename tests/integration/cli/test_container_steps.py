"""Tests the steps before the stages of containers start: `nija paper-accounts` and `nija followers register`."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from redis import Redis

from services.local_system import lock
from services.local_system.record import RunRecord
from shared.brokers.registry import supported_brokers
from shared.config import load_settings, master_prefix
from shared.domain.copying.follower import FollowerStatus
from shared.domain.identity import Broker
from shared.messaging.keys import BrokerKeys
from shared.persistence.database import open_engine
from shared.persistence.followers.store import FollowerStore

pytestmark = pytest.mark.long

BROKERS = (Broker.COINBASE, Broker.KRAKEN, Broker.OKX)
"""One with PEM keys, one with plain ones, one with a passphrase."""


def nija(*arguments: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "services.cli.app", *arguments],
        # The command asks the broker about new keys, and no test may ask a real one.
        env={"PATH": os.environ["PATH"], "NIJA_CONFIG_FILE": "", "KRAKEN_BASE_URL": "http://127.0.0.1:1", **variables},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def paper_urls(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A paper broker of each kind, as the variables that name them."""
    with contextlib.ExitStack() as stack:
        found = {}
        for broker in BROKERS:
            port_file = tmp_path / f"{broker.value}.port"
            command = [sys.executable, "-P", "-m", "services.paper_broker.app", "--broker", broker.value]
            process = subprocess.Popen([*command, "--port-file", str(port_file)], stdout=subprocess.DEVNULL)
            stack.callback(process.wait, 20)
            stack.callback(process.terminate)
            deadline = time.monotonic() + 40
            while not port_file.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline, "the paper broker does not start"
                time.sleep(0.05)
            found[f"{broker.name}_BASE_URL"] = f"http://127.0.0.1:{port_file.read_text().strip()}"
        yield found


def test_paper_accounts_are_made_once_and_read_by_the_other_services(
    tmp_path: Path, paper_urls: dict[str, str]
) -> None:
    """The file is private, has every master's key and all secrets that the stages need, and stays as it is."""
    assert set(BROKERS) <= set(supported_brokers())
    names = ",".join(broker.value for broker in BROKERS)
    keys = tmp_path / "keys"
    variables = {**paper_urls, "NIJA_BROKERS": names, "NIJA_ENV_FILE": ""}
    done = nija("paper-accounts", str(keys), folder=tmp_path, **variables)
    assert done.returncode == 0, done.stderr
    file = keys / "paper.env"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    settings = load_settings({"NIJA_ENV_FILE": str(file), "NIJA_CONFIG_FILE": ""})
    assert settings.flower_basic_auth is not None
    Fernet(settings.secret_key.get_secret_value())
    for broker in BROKERS:
        # Also says whether a key has that broker's form, line ends of PEM keys included.
        settings.required_master_credentials(broker)
        assert f"{master_prefix(broker)}_API_SECRET" in file.read_text()
    assert len(settings.environment_followers()) == 3 * len(BROKERS)
    before = file.read_text()
    for secret in settings.secrets():
        assert secret.get_secret_value() not in done.stdout + done.stderr

    assert nija("paper-accounts", str(keys), folder=tmp_path, **variables).returncode == 0
    assert file.read_text() == before


def test_paper_accounts_needs_the_paper_brokers_addresses(tmp_path: Path) -> None:
    """Without them it would have to guess, so it names what is missing and writes nothing."""
    for variables, named in (({}, "NIJA_BROKERS is missing"), ({"NIJA_BROKERS": "okx"}, "OKX_BASE_URL is missing")):
        done = nija("paper-accounts", str(tmp_path / "keys"), folder=tmp_path, NIJA_ENV_FILE="", **variables)
        assert done.returncode == 2
        assert named in done.stderr
    assert not (tmp_path / "keys").exists()


def test_followers_of_the_environment_are_registered_and_the_stages_hear_of_it(
    tmp_path: Path, fresh_redis_url: str, fresh_database_url: str
) -> None:
    """Named: active, with a new version of the roster; not named any more: disabled, a newer version; the same again: no change."""
    servers = {
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "NIJA_ENV_FILE": "",
    }
    alice = {"KRAKEN_USER_ALICE_API_KEY": "k" * 56, "KRAKEN_USER_ALICE_API_SECRET": "c2VjcmV0" * 11}
    roster = BrokerKeys(Broker.KRAKEN).roster
    engine = open_engine(fresh_database_url)
    with Redis.from_url(fresh_redis_url) as redis, contextlib.closing(redis):
        first = nija("followers", "register", "--json", folder=tmp_path, **servers, **alice)
        assert first.returncode == 0, first.stderr
        assert json.loads(first.stdout)["added"] == [{"broker": "kraken", "follower": "alice"}]
        version = int(redis.get(roster) or 0)
        assert version > 0
        second = nija("followers", "register", "--json", folder=tmp_path, **servers, **alice)
        assert second.returncode == 0, second.stderr
        again = json.loads(second.stdout)
        lists = ("added", "updated", "disabled", "removed_before", "refused", "postponed")
        assert again == {name: [] for name in lists}
        version = int(redis.get(roster) or 0)
        gone = nija("followers", "register", "--json", folder=tmp_path, **servers)
        assert gone.returncode == 0, gone.stderr
        assert json.loads(gone.stdout)["disabled"] == [{"broker": "kraken", "follower": "alice"}]
        assert int(redis.get(roster) or 0) > version
    (record,) = FollowerStore(engine).all()
    engine.dispose()
    assert record.status is FollowerStatus.DISABLED


@pytest.mark.parametrize("paper", [False, True])
def test_without_servers_named_the_nija_that_runs_here_gets_the_followers(
    tmp_path: Path, fresh_redis_url: str, fresh_database_url: str, paper: bool
) -> None:
    """As for the other commands about followers. One on paper has its own, which would be disabled: they stay."""
    home = tmp_path / ".nija"
    home.mkdir()
    variables = {"NIJA_SECRET_KEY": Fernet.generate_key().decode(), "NIJA_ENV_FILE": ""}
    alice = {"KRAKEN_USER_ALICE_API_KEY": "k" * 56, "KRAKEN_USER_ALICE_API_SECRET": "c2VjcmV0" * 11}
    alone = nija("followers", "register", folder=tmp_path, **variables, **alice)
    assert alone.returncode == 2
    assert "no nija runs on .nija: start `nija up`" in alone.stderr
    record = RunRecord(home)
    with lock.exclusive(home):
        record.open("test")
        servers = {"REDIS_URL": fresh_redis_url, "DATABASE_URL": fresh_database_url, "NIJA_BROKERS": "kraken"}
        record.write_environment("test", servers, paper=paper)
        done = nija("followers", "register", "--json", folder=tmp_path, **variables, **alice)
    engine = open_engine(fresh_database_url)
    registered = [record.follower_id for record in FollowerStore(engine).all()]
    engine.dispose()
    if paper:
        assert (done.returncode, registered) == (2, [])
        assert "nija runs on paper in .nija, with followers of its own" in done.stderr
    else:
        assert (done.returncode, registered) == (0, ["alice"]), done.stderr
        assert json.loads(done.stdout)["added"] == [{"broker": "kraken", "follower": "alice"}]


def test_without_redis_no_follower_is_registered(tmp_path: Path, fresh_database_url: str) -> None:
    """The running stages would not hear of it: one line, exit code 2 as for every failed start, and nothing changed."""
    done = nija(
        "followers",
        "register",
        folder=tmp_path,
        REDIS_URL="redis://127.0.0.1:1/0",
        DATABASE_URL=fresh_database_url,
        NIJA_SECRET_KEY=Fernet.generate_key().decode(),
        NIJA_ENV_FILE="",
        KRAKEN_USER_ALICE_API_KEY="k" * 56,
        KRAKEN_USER_ALICE_API_SECRET="c2VjcmV0" * 11,
    )
    assert done.returncode == 2
    assert done.stderr == "nija: REDIS_URL: no Redis listens at 127.0.0.1:1; nothing was changed\n"
    assert "k" * 56 not in done.stderr
    engine = open_engine(fresh_database_url)
    assert FollowerStore(engine).all() == []
    engine.dispose()
