"""Stages that are started by themselves, as in a container, warn of variables that look like a setting and are none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

WORKER = ("celery", "-A", "services.broker_worker.app", "worker", "-Q", "broker.kraken", "-c", "1")
STAGES = {
    "copy_engine": ("services.copy_engine.app",),
    "bookkeeper": ("services.bookkeeper.app",),
    "master_trader": ("services.master_trader.app", "--broker", "kraken"),
    "broker_worker": WORKER,
}


def warnings_in(log: str) -> list[Any]:
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [(line["process"], line["level"], line["variables"]) for line in lines if "misspelt" in line["event"]]


@pytest.mark.long
def test_every_stage_warns_once_before_anything_else(tmp_path: Path) -> None:
    """In its log, with what was probably meant and no value; also when it cannot start for want of that very setting."""
    environment = {
        "PATH": os.environ["PATH"],
        "NIJA_ENV_FILE": "",
        "NIJA_CONFIG_FILE": "",
        "NIJA_HOME": str(tmp_path / "home"),
        "NIJA_BROKERS": "kraken",
        "NIJA_SECRET_KEY": Fernet.generate_key().decode(),
        "KRAKEN_MASTER_API_KEY": "k" * 56,
        "KRAKEN_MASTER_API_SECRET": "c2VjcmV0" * 11,
        "KRAKEN_BASE_URL": "http://127.0.0.1:1",
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "DATABSE_URL": "postgresql://zzz",
        "KRAKEN_API_KEY": "zzz",
    }
    reported = [
        "DATABSE_URL is not a setting; did you mean DATABASE_URL?",
        "KRAKEN_API_KEY is not a setting; did you mean KRAKEN_MASTER_API_KEY?",
    ]
    running = {
        name: subprocess.Popen([sys.executable, "-m", *command], env=environment, stderr=subprocess.PIPE, text=True)
        for name, command in STAGES.items()
    }
    for name, process in running.items():
        _, log = process.communicate(timeout=60)
        assert process.returncode == 2
        assert warnings_in(log) == [(name, "warning", reported)]
        assert "DATABASE_URL is missing" in log
        assert "zzz" not in log
