"""Builds the specs by which the supervisor starts nija's processes on one machine."""

import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from services.local_system.embedded import EmbeddedServer
from services.local_system.process import ProcessSpec
from shared.config import Settings
from shared.domain.identity import Broker
from shared.messaging.keys import queue_name
from shared.observability.heartbeat import age_seconds

# -P: a folder `services` in the working folder must not take the place of the package.
_PYTHON: Final = (sys.executable, "-P", "-m")
_GRACE_SECONDS: Final = 30.0
"""As in docker-compose.yml and k8s/. A stage stops after 8 s what it can repeat; the rest is for a machine that is busy
with a roll-out.
"""
_WORKER_GRACE_SECONDS: Final = 45.0
"""The same for a worker: a request and the look-up after it may take their time limits, 10 s each. A trader ends the cycle
in hand."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all processes of a run share."""

    environment: Mapping[str, str]
    log_folder: Path
    heartbeat_file: Callable[[str], Path]
    working_folder: Path

    def log_file(self, name: str) -> Path:
        return self.log_folder / f"{name}.log"


@dataclass(frozen=True, slots=True)
class MarketSpan:
    """The time of a candle file through which the markets of paper brokers move while their traders wait."""

    since: datetime
    until: datetime


def server_spec(server: EmbeddedServer, around: Surroundings) -> ProcessSpec:
    """An embedded server that was prepared."""
    return ProcessSpec(
        name=server.name,
        command=server.command(),
        environment=around.environment,
        log_file=around.log_file(server.name),
        is_ready=lambda _started_at: server.is_ready(),
        stop_signal=server.stop_signal,
        child_setup=server.child_setup(),
        before_start=server.clear_remains,
        working_folder=Path("/"),
    )


def paper_broker_spec(
    broker: Broker,
    port: int,
    data_folder: Path,
    around: Surroundings,
    *,
    seed: int,
    candles: Path | None,
    market: MarketSpan | None = None,
    lift_rate_limits: bool = False,
) -> ProcessSpec:
    """The paper broker of one broker, on a loopback port; its state outlives it in `data_folder`."""
    arguments = ["--broker", broker.value, "--port", str(port), "--seed", str(seed)]
    arguments += ["--state", str(data_folder / f"{broker.value}.journal")]
    if candles is not None:
        arguments += ["--candles", str(candles.absolute())]
    if market is not None:
        arguments += ["--market-from", market.since.isoformat(), "--market-until", market.until.isoformat()]
    if lift_rate_limits:
        arguments.append("--no-rate-limits")
    name = f"paper_broker-{broker.value}"
    return ProcessSpec(
        name=name,
        command=[*_PYTHON, "services.paper_broker.app", *arguments],
        environment=around.environment,
        log_file=around.log_file(name),
        is_ready=lambda _started_at: _answers(port),
        working_folder=around.working_folder,
    )


def service_specs(settings: Settings, brokers: Sequence[Broker], around: Surroundings) -> list[ProcessSpec]:
    """The stages of the pipeline, in the order of starting; all of them beat."""
    specs = [
        _beating_spec("bookkeeper", ["services.bookkeeper.app"], around),
        _beating_spec("copy_engine", ["services.copy_engine.app"], around),
    ]
    for broker in brokers:
        worker = ["celery", "-A", "services.broker_worker.app", "worker", "-Q", queue_name(broker)]
        worker += ["-n", f"{broker.value}@%h", "-P", "prefork", "-c", str(settings.worker_children)]
        worker += ["--without-gossip", "--without-mingle", "-l", settings.log_level.upper()]
        specs.append(_beating_spec(f"broker_worker-{broker.value}", worker, around, _WORKER_GRACE_SECONDS))
        master = ["services.master_trader.app", "--broker", broker.value]
        specs.append(_beating_spec(f"master_trader-{broker.value}", master, around))
    return specs


def trader_specs(brokers: Sequence[Broker], around: Surroundings) -> list[ProcessSpec]:
    """The traders of the master accounts. They beat like the other stages."""
    return [
        _beating_spec(
            f"strategy_trader-{broker.value}",
            ["services.strategy_trader.app", "--broker", broker.value],
            around,
            _WORKER_GRACE_SECONDS,
        )
        for broker in brokers
    ]


def api_spec(port: int, around: Surroundings) -> ProcessSpec:
    """The API, on a loopback port. It beats like a stage, and is ready when it listens."""
    spec = _beating_spec("api", ["services.api.app", "--port", str(port)], around)
    return replace(spec, is_ready=lambda _started_at: _answers(port))


def _beating_spec(
    name: str, command: Sequence[str], around: Surroundings, grace_seconds: float = _GRACE_SECONDS
) -> ProcessSpec:
    heartbeat_file = around.heartbeat_file(name)

    def has_beaten(started_at: float) -> bool:
        age = age_seconds(heartbeat_file)
        return age is not None and time.time() - age >= started_at

    return ProcessSpec(
        name=name,
        command=[*_PYTHON, *command],
        environment={**around.environment, "NIJA_HEARTBEAT_FILE": str(heartbeat_file)},
        log_file=around.log_file(name),
        is_ready=has_beaten,
        grace_seconds=grace_seconds,
        before_start=lambda: heartbeat_file.unlink(missing_ok=True),
        working_folder=around.working_folder,
        reopens_log=True,
    )


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
