"""Tests that commands that prepare the system fail with a line that names DATABASE_URL while it is not set."""

from collections.abc import Callable
from pathlib import Path

import pytest

from services.cli.followers.register import register_followers
from services.cli.migrate import migrate_database
from services.local_system.errors import NothingRuns, StartFailed


@pytest.mark.parametrize("command", [migrate_database, register_followers])
def test_a_database_that_is_not_named_is_a_wrong_setting(
    command: Callable[[], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A container without the variable must not look like one that waits for a server. Exit code 1 is for findings."""
    monkeypatch.setattr("os.environ", {"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": ""})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StartFailed, match=r"^DATABASE_URL is missing, and no nija runs on \.nija: ") as failed:
        command()
    assert not isinstance(failed.value, NothingRuns)
