"""Tests that a start that fails prints its one line only, and uses no URL that the settings would refuse."""

import pytest
from structlog.testing import capture_logs

from shared.config.stage import settings_of_stage
from shared.domain.identity import Broker
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.start import start_of
from shared.presence import leave_failure

VARIABLES = {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""}
NO_REDIS = "redis://127.0.0.1:1/0"
NO_POSTGRES = "postgresql://nija:hidden@127.0.0.1:1/nija"
BROKEN_REDIS = "redis://:hidden@word@127.0.0.1:1/0"
BROKEN_POSTGRES = "postgresql://nija:hidden@word@127.0.0.1:1/nija"


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"DATABASE_URL": BROKEN_POSTGRES}, "DATABASE_URL"),
        ({"REDIS_URL": BROKEN_REDIS}, "REDIS_URL"),
        ({"KRAKEN_REDIS_URL": BROKEN_REDIS}, "KRAKEN_REDIS_URL"),
        ({"NIJA_WORKER_CHILDREN": "0"}, "NIJA_WORKER_CHILDREN"),
    ],
)
def test_a_refused_setting_is_the_only_line(
    changes: dict[str, str],
    setting: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Both servers are away. No library reads the refused URL, so no part of its password is shown as a host."""
    servers = {"REDIS_URL": NO_REDIS, "DATABASE_URL": NO_POSTGRES}
    monkeypatch.setattr("os.environ", {**VARIABLES, **servers, **changes})
    with capture_logs() as logged, pytest.raises(SystemExit), start_of("copy_engine") as start:
        settings_of_stage(start, Broker.KRAKEN, record=StageRecord.of_this_process(Stage.COPY_ENGINE))
    output, errors = capsys.readouterr()
    [line] = errors.splitlines()
    assert line.startswith(f"copy_engine: {setting}")
    assert (output, logged) == ("", [])
    assert "word@" not in errors


def test_a_failure_that_no_server_takes_is_not_logged() -> None:
    """The process ends with its own line. A second one would hide it."""
    record = StageRecord.of_this_process(Stage.COPY_ENGINE)
    with capture_logs() as logged:
        leave_failure(record, "why", {Broker.KRAKEN: NO_REDIS}, NO_POSTGRES)
        leave_failure(record, "why", {}, NO_POSTGRES)
    assert logged == []
