"""The demo serves the API, and goes on running after its result when it is asked to."""

import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.end_to_end.conftest import nija_command

pytestmark = pytest.mark.long

RESULT_SECONDS = 110


def wait(condition: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a condition holds, or fail with what the command said."""
    deadline = time.monotonic() + RESULT_SECONDS
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_with_stay_it_answers_after_its_result_until_it_is_interrupted(tmp_path: Path) -> None:
    """The printed command makes a token, and Ctrl-C is a normal end: exit code 0, and no data are left."""
    log, environment = tmp_path / "output", {"PATH": os.environ["PATH"], "NIJA_HOME": str(tmp_path / "my home")}
    arguments = ("demo", "--broker", "kraken", "--followers", "1", "--fills", "1", "--stay", "--json")
    with log.open("wb") as output, (tmp_path / "result").open("wb") as result:
        process = subprocess.Popen(
            nija_command(*arguments), cwd=tmp_path, env=environment, stdout=result, stderr=output
        )
    try:
        wait(lambda: "everything goes on running" in log.read_text(), process, log)
        assert json.loads((tmp_path / "result").read_text())["brokers"]
        url = re.search(r"the API is at (\S+);", log.read_text())
        made = re.search(r"(NIJA_HOME=.*) nija (tokens add .*)", log.read_text())
        assert url is not None
        assert made is not None
        [home] = shlex.split(made[1])
        done = subprocess.run(
            nija_command(*shlex.split(made[2])),
            env={**environment, "NIJA_HOME": home.removeprefix("NIJA_HOME=")},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
        state = requests.get(f"{url[1]}/api/capital/state", headers=headers, timeout=20).json()
        assert 0 < state["total_equity"] <= 100_000
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert not (tmp_path / "my home" / "demo").exists()
