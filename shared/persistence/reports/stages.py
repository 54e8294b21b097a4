"""Stores in PostgreSQL why processes of stages do not start or work while they cannot reach Redis."""

from typing import Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Engine, text

from shared.domain.amounts import Instant
from shared.domain.identity import Broker
from shared.persistence.database import open_engine, transaction

CONNECT_SECONDS: Final = 3
"""A process that reports is in trouble already: it waits no longer."""
_WRITE = text("""
    INSERT INTO stage_reports (broker, stage, host, state, message, reported_at)
    VALUES (:broker, :stage, :host, :state, :message, now())
    ON CONFLICT (broker, stage, host)
    DO UPDATE SET state = excluded.state, message = excluded.message, reported_at = excluded.reported_at
""")
_RECENT = text("""
    SELECT broker, stage, host, state, message, reported_at, EXTRACT(EPOCH FROM now() - reported_at)::float AS age_seconds
    FROM stage_reports
    WHERE reported_at > now() - make_interval(secs => :seconds)
    ORDER BY broker, stage, host
""")


class StageReport(BaseModel):
    """The last report of a stage on one host for one broker."""

    model_config = ConfigDict(frozen=True)

    broker: Broker | None
    """None: the process could not read for which broker it should work."""
    stage: str
    host: str
    state: str
    message: str
    reported_at: Instant
    age_seconds: float


def write_stage_report(
    database_url: str, broker: Broker | None, stage: str, host: str, state: str, message: str
) -> None:
    """Write one report on a connection of its own. Raises BadDatabaseUrl, DatabaseUnavailable."""
    engine = open_engine(database_url, pool_size=1, connect_timeout_seconds=CONNECT_SECONDS)
    values = {"broker": broker.value if broker else "", "stage": stage, "host": host, "state": state}
    try:
        with transaction(engine) as connection:
            connection.execute(_WRITE, {**values, "message": message})
    finally:
        engine.dispose()


def recent_stage_reports(engine: Engine, seconds: float) -> list[StageReport]:
    """The reports of the last `seconds`. Raises DatabaseUnavailable."""
    with transaction(engine) as connection:
        rows = connection.execute(_RECENT, {"seconds": seconds}).mappings()
        return [StageReport.model_validate({**row, "broker": row["broker"] or None}) for row in rows]
