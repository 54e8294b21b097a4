"""Tests that `requirements/runtime.txt` is complete: every process starts where nothing else is installed.

The tests' own environment also holds the tools of the build and of the tests, which bring along libraries that nija
would miss elsewhere. Here a new environment gets the runtime requirements and the project's wheel. It has no pip and
no setuptools, as in the image, and the system's time zones are hidden, as on a small system.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local_system.embedded_postgres import PostgresServer
from tests.end_to_end.compose import LocalCompose, read_services, with_needs

PROJECT = Path(__file__).resolve().parents[2]
IMPORT_ALL = """
import importlib, pkgutil
for name in ("services", "shared"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        importlib.import_module(module.name)
        print(module.name)
"""

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def pip(*arguments: str | Path) -> None:
    """Run the pip of the tests' environment."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=PROJECT,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the runtime requirements and the project, and without any build tool."""
    folder = tmp_path_factory.mktemp("runtime")
    environment = folder / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip(
        "--python",
        environment,
        "install",
        "--no-compile",
        "--require-hashes",
        "--requirement",
        "requirements/runtime.txt",
    )
    pip("--python", environment, "uninstall", "--yes", "setuptools")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ".")
    pip("--python", environment, "install", "--no-deps", next(folder.glob("nija-*.whl")))
    return environment


@pytest.fixture
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    yield postgres_server.create_database("runtime")
    postgres_server.drop_database("runtime")


def test_every_module_can_be_imported(environment: Path, tmp_path: Path) -> None:
    """No module of services or shared needs a library that the runtime requirements do not name."""
    done = subprocess.run(
        [environment / "bin" / "python", "-P", "-c", IMPORT_ALL],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONTZPATH": ""},
    )
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    apps = {f"services.{path.parent.name}.app" for path in PROJECT.glob("services/*/app.py")}
    assert len(apps) >= 7
    assert apps <= imported


def test_every_process_starts_and_is_healthy(environment: Path, tmp_path: Path, database: str) -> None:
    """The services of a broker, Celery's worker and Flower among them, run by their compose commands and pass their checks."""
    services = read_services({"NIJA_PAPER_BROKERS": "kraken"})
    others = ("-coinbase", "-okx", "-binance", "-alpaca")
    names = [name for name, service in services.items() if "paper" in service["profiles"] and not name.endswith(others)]
    local = LocalCompose(services, tmp_path, database, programs=environment / "bin", variables={"PYTHONTZPATH": ""})
    try:
        local.up(with_needs(services, names, only=names))
        for name in names:
            if "test" in services[name].get("healthcheck", {}):
                local.wait_healthy(name)
    finally:
        codes = local.stop()
    assert codes == dict.fromkeys(codes, 0)
    started = {part for name in names for part in services[name].get("command", [])}
    processes = {path.parent.name for path in PROJECT.glob("services/*/app.py")} - {"cli"}
    assert {f"services.{process}.app" for process in processes} | {"nija", "celery"} <= started


def test_the_command_line_starts(environment: Path) -> None:
    """`nija --version` prints the version of the project that is installed."""
    done = subprocess.run(
        [environment / "bin" / "nija", "--version"], capture_output=True, text=True, check=False, env={}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nija ")
    assert os.path.realpath(environment / "bin" / "python") == os.path.realpath(sys.executable)
