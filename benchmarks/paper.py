"""Runs a paper broker in a process of its own for a benchmark, and returns the URL that it serves."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from services.local_system.child import child_setup
from shared.domain.identity import Broker

START_SECONDS = 30.0


@contextlib.asynccontextmanager
async def paper_broker(broker: Broker, folder: Path) -> AsyncIterator[str]:
    """Run it for as long as the block."""
    port_file = folder / f"{broker.value}.port"
    with (folder / f"{broker.value}.log").open("wb") as log:
        arguments = ["services.paper_broker.app", "--broker", broker.value, "--port", "0", "--no-rate-limits"]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            *arguments,
            "--port-file",
            str(port_file),
            stdout=log,
            stderr=log,
            preexec_fn=child_setup(signal.SIGTERM),
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                while not (port_file.exists() and port_file.read_text().strip()):
                    if process.returncode is not None:
                        raise RuntimeError(f"the paper broker of {broker.value} ended; see {log.name}")
                    await asyncio.sleep(0.02)
            yield f"http://127.0.0.1:{port_file.read_text().strip()}"
        finally:
            if process.returncode is None:
                process.terminate()
                await process.wait()
