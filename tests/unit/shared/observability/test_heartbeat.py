"""Tests the heartbeat file and the probe that reads it."""

import os
import sys
import time
from pathlib import Path

import pytest

from shared.observability import heartbeat
from shared.observability.heartbeat import Heartbeat, age_seconds


def test_a_beat_makes_the_file_young(tmp_path: Path) -> None:
    """The first beat makes the file and its folder, the next ones renew it."""
    path = tmp_path / "run" / "engine.heartbeat"
    assert age_seconds(path) is None
    Heartbeat(path).beat()
    os.utime(path, (0, 0))
    old = age_seconds(path)
    assert old is not None
    assert old > 1e9
    Heartbeat(path).beat()
    young = age_seconds(path)
    assert young is not None
    assert young < 60


def test_no_path_writes_nothing(tmp_path: Path) -> None:
    """Without a path a beat does nothing."""
    Heartbeat(None).beat()
    assert list(tmp_path.iterdir()) == []


def test_the_probe_says_whether_the_last_beat_is_young_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Good: it returns. Too old, or never: exit code 1 with a reason."""
    path = tmp_path / "heartbeat"
    monkeypatch.setattr(sys, "argv", ["heartbeat", "--max-age", "30", str(path)])
    with pytest.raises(SystemExit, match="no beat yet"):
        heartbeat.main()
    Heartbeat(path).beat()
    heartbeat.main()
    old = time.time() - 31
    os.utime(path, (old, old))
    with pytest.raises(SystemExit, match=r"the last beat was 3\d s ago"):
        heartbeat.main()


def test_a_process_that_cannot_work_is_alive_and_not_healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only `--alive` decides about a restart. Without it the check fails too, and prints why."""
    path = tmp_path / "heartbeat"
    heart = Heartbeat(path)
    heart.beat("PostgreSQL does not answer")
    monkeypatch.setattr(sys, "argv", ["heartbeat", "--alive", str(path)])
    heartbeat.main()
    monkeypatch.setattr(sys, "argv", ["heartbeat", str(path)])
    with pytest.raises(SystemExit, match="PostgreSQL does not answer"):
        heartbeat.main()
    heart.beat()
    heartbeat.main()
    assert [each.name for each in tmp_path.iterdir()] == ["heartbeat"]


def test_a_heartbeat_file_that_was_removed_is_made_again(tmp_path: Path) -> None:
    """The supervisor removes it before each start, and a tmpfs may be emptied."""
    path = tmp_path / "heartbeat"
    heart = Heartbeat(path)
    heart.beat()
    path.unlink()
    heart.beat()
    assert path.read_text() == ""
