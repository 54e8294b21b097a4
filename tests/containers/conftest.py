"""Provides the container tests with an engine, the image under test, and a table of results at the end."""

import fcntl
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.docker import docker, engine_problem
from tests.containers.project import IMAGE
from tests.containers.report import Results
from tests.end_to_end.compose import FILE

_RESULTS = Results()
_BEGAN_AT = time.monotonic()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--containers-report", type=Path, help="write the results of the container tests here, as JSON")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _RESULTS.rows:
        return
    terminalreporter.ensure_newline()
    _RESULTS.print(time.monotonic() - _BEGAN_AT)
    if path := config.getoption("--containers-report"):
        _RESULTS.write(path)


@pytest.fixture(scope="session")
def results() -> Results:
    """Where each check puts its row."""
    return _RESULTS


@pytest.fixture(scope="session")
def alone() -> Iterator[None]:
    """No other run on this machine at the same time: both would use the same names in the engine."""
    with (Path(tempfile.gettempdir()) / "nija-container-tests.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.fail(f"the container tests run already: {lock.name} is locked; wait for their end", pytrace=False)
        yield


@pytest.fixture(scope="session")
def image(alone: None, results: Results) -> Iterator[str]:
    """The image, built from this checkout by the Dockerfile; removed again at the end, its layers stay cached."""
    if problem := engine_problem():
        pytest.fail(f"the container tests need a Docker engine: {problem}; run `make containers`", pytrace=False)
    with results.check("the image is built") as row:
        docker("build", "--quiet", "--build-arg", "PIP_INDEX_URL", "--tag", IMAGE, str(FILE.parent), seconds=900)
        size = int(docker("image", "inspect", "--format", "{{.Size}}", IMAGE))
        row.note = f"{size / 1e6:.0f} MB, {docker('run', '--rm', IMAGE, 'nija', '--version')}"
    yield IMAGE
    docker("image", "rm", "--no-prune", IMAGE)
