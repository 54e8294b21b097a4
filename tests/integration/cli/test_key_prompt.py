"""Tests that `nija followers add` cleans a key that is typed or pasted at a terminal, and does not show it."""

import fcntl
import os
import pty
import subprocess
import sys
import termios
import time
from pathlib import Path

from cryptography.fernet import Fernet
from pydantic import SecretStr

from shared.domain.identity import Broker
from shared.persistence.database import open_engine
from shared.persistence.followers.secrets import SecretBox
from shared.persistence.followers.store import FollowerStore

API_KEY, SECRET = "the-api-key-of-alice-1234", "dGhlLXNlY3JldC1vZi1hbGljZQ=="


def at_a_terminal(arguments: list[str], environment: dict[str, str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Run nija with a terminal of its own; answer each prompt. Exit code, and all that the terminal showed."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "services.cli.app", *arguments],
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no thread is under way
    )
    os.close(theirs)
    shown = ""
    deadline = time.monotonic() + 60
    try:
        for prompt, answer in [*answers, ("\0", "")]:
            while prompt not in shown and time.monotonic() < deadline:
                try:
                    shown += os.read(ours, 4096).decode()
                except OSError:  # it has ended
                    break
            if answer:
                time.sleep(0.2)  # what comes before the echo is off is thrown away
                os.write(ours, answer.encode())
        return process.wait(30), shown
    finally:
        os.close(ours)
        if process.poll() is None:
            process.kill()
            process.wait()


def test_a_key_that_is_pasted_at_a_prompt_is_cleaned_and_not_shown(
    fresh_redis_url: str, fresh_database_url: str, tmp_path: Path
) -> None:
    """Quotes and blanks come with a copied key; the terminal shows neither key nor secret."""
    environment = {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "REDIS_URL": fresh_redis_url,
        "DATABASE_URL": fresh_database_url,
    }
    answers = [("API key (not shown)", f" “{API_KEY}” \n"), ("API secret (not shown)", f"'{SECRET}'\u00a0\n")]
    code, shown = at_a_terminal(["followers", "add", "alice", "-b", "kraken", "--no-check"], environment, answers)
    assert code == 0, shown
    assert "alice at kraken added" in shown
    assert API_KEY not in shown
    assert SECRET not in shown
    engine = open_engine(fresh_database_url, pool_size=1)
    try:
        store = FollowerStore(engine, SecretBox(SecretStr(environment["NIJA_SECRET_KEY"])))
        stored = store.credentials(Broker.KRAKEN, ["alice"])["alice"]
    finally:
        engine.dispose()
    assert (stored.api_key.get_secret_value(), stored.api_secret.get_secret_value()) == (API_KEY, SECRET)
