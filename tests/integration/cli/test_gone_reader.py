"""A reader that goes away, as in `nija … | head -1`, is no error for any command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def without_a_reader(folder: Path, *arguments: str, both: bool = False, **variables: str) -> tuple[int, str]:
    """Run `nija` with a standard output that has no reader; return the exit code and standard error.

    With `both`, standard error has no reader either, and the result for it is empty.
    """
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "services.cli.app", *arguments],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "NIJA_BROKERS": "kraken", **variables},
            stdout=writing,
            stderr=writing if both else subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize(
    ("arguments", "both"),
    [
        (["--version"], False),
        pytest.param(["--help"], False, marks=pytest.mark.long),
        pytest.param(["fills"], False, marks=pytest.mark.long),
        pytest.param(["fills", "--json"], False, marks=pytest.mark.long),
        (["orders"], True),
        pytest.param(["positions", "--json"], True, marks=pytest.mark.long),
    ],
)
def test_it_ends_as_if_somebody_had_read_it(
    arguments: list[str], both: bool, fresh_database_url: str, fresh_redis_url: str, tmp_path: Path
) -> None:
    """The exit code is 0 and nothing is reported, for text, tables and JSON, and also with `2>&1`."""
    servers = {"DATABASE_URL": fresh_database_url, "REDIS_URL": fresh_redis_url}
    assert without_a_reader(tmp_path, *arguments, both=both, **servers) == (0, "")


def test_a_finding_keeps_its_exit_code(fresh_database_url: str, tmp_path: Path) -> None:
    """A script that reads the exit code gets the same one as with a reader; wrong use stays wrong use."""
    away = "redis://127.0.0.1:1/0"
    servers = {"DATABASE_URL": fresh_database_url, "REDIS_URL": away}
    assert without_a_reader(tmp_path, "check", "brokers", both=True, **servers)[0] == 1
    assert without_a_reader(tmp_path, "fills", "--broker", "krakn", both=True, **servers)[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["fills"],
        *(pytest.param(each, marks=pytest.mark.long) for each in (["--version"], ["--help"], ["fills", "--json"])),
    ],
)
def test_a_full_disk_is_told_in_one_line(
    arguments: list[str], fresh_database_url: str, fresh_redis_url: str, tmp_path: Path
) -> None:
    """The exit code is 1, because a script must not use half a document."""
    servers = {"DATABASE_URL": fresh_database_url, "REDIS_URL": fresh_redis_url}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "services.cli.app", *arguments],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "NIJA_BROKERS": "kraken", **servers},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "nija: the output cannot be written: No space left on device\n")
