"""Tests that Ctrl-C ends `nija demo` and `nija chaos` at any moment, and that their data goes with them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

COMMANDS = {
    "demo": ("demo", "--broker", "kraken", "--followers", "1", "--fills", "1"),
    "demo-keep": ("demo", "--broker", "kraken", "--followers", "1", "--fills", "1", "--keep"),
    "chaos": ("chaos", "--brokers", "kraken", "--orders", "1"),
    "steps": ("chaos", "--steps"),
}


def test_an_interrupted_run_leaves_data_only_if_it_is_to_be_kept(tmp_path: Path) -> None:
    """All at once, each interrupted when it has begun to write: only --keep leaves servers' data, and says where."""
    running = {}
    for name, arguments in COMMANDS.items():
        home = tmp_path / name
        variables = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", "NIJA_HOME": str(home)}
        running[name] = subprocess.Popen(
            [sys.executable, "-P", "-m", "services.cli.app", *arguments],
            env={"PATH": os.environ["PATH"], **variables},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
    deadline = time.monotonic() + 60
    starting = dict(running)
    while starting:
        for name, process in list(starting.items()):
            assert process.poll() is None
            if list((tmp_path / name).glob("*/run/system.json")):
                process.send_signal(signal.SIGINT)
                del starting[name]
        assert time.monotonic() < deadline, f"not started: {starting}"
        time.sleep(0.02)
    for name, process in running.items():
        reported, _ = process.communicate(timeout=60)
        assert process.returncode != 0
        left = [path.name for path in (tmp_path / name).glob("*")]
        assert left == (["demo"] if name == "demo-keep" else []), reported
        assert ("kept: " in reported) is (name == "demo-keep")
        assert "Traceback" not in reported


def test_somebody_elses_folder_named_demo_or_chaos_is_not_deleted(tmp_path: Path) -> None:
    """With NIJA_HOME set to a folder that is not nija's own, the command says so and touches nothing."""
    for name in ("demo", "chaos"):
        mine = tmp_path / name / "mine"
        mine.parent.mkdir()
        mine.touch()
        done = subprocess.run(
            [sys.executable, "-P", "-m", "services.cli.app", *COMMANDS[name]],
            env={"PATH": os.environ["PATH"], "NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", "NIJA_HOME": str(tmp_path)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert "holds other things (mine)" in done.stderr
        assert list(mine.parent.iterdir()) == [mine]
