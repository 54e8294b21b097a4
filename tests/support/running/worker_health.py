"""Builds the health of a worker that has no Celery around it."""

from pathlib import Path

from services.broker_worker.children import Children
from services.broker_worker.health import ConsumerWatch, WorkerHealth
from shared.domain.identity import Broker
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import Vitals


def a_health(heartbeat_file: Path | None = None) -> WorkerHealth:
    """The health of a worker of Kraken with one child that works."""
    children = Children()
    children.slot(0).begin()
    record = StageRecord.of_this_process(Stage.BROKER_WORKER)
    return WorkerHealth(
        record, Broker.KRAKEN, children, ConsumerWatch(), Vitals(Heartbeat(heartbeat_file), [Broker.KRAKEN])
    )
