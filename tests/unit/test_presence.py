"""Tests the heartbeat of a process, as its presence writes it."""

import asyncio
from pathlib import Path

import pytest

from shared import presence
from shared.messaging.stage_signs import Stage, StageRecord
from shared.observability.heartbeat import Heartbeat
from shared.observability.vitals import Vitals
from shared.presence import LoopLife, signs_of_life


async def test_a_heartbeat_that_cannot_be_written_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The work goes on meanwhile: only the health check acts on the missing beat."""
    monkeypatch.setattr(presence, "HEARTBEAT_SECONDS", 0.01)
    no_folder = tmp_path / "beat"
    no_folder.write_text("a file, where the folder should be")
    life = LoopLife(StageRecord.of_this_process(Stage.BOOKKEEPER), Vitals(Heartbeat(no_folder / "beat"), []))
    async with signs_of_life(life, {}, "postgresql://127.0.0.1:1/nija"):
        await asyncio.sleep(0.05)
        no_folder.unlink()
        async with asyncio.timeout(5):
            while not (no_folder / "beat").exists():
                await asyncio.sleep(0.01)
