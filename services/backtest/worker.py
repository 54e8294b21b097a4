"""Runs the backtests of sweeps: `python -m services.backtest.worker PROCESSES`, with the URL of Redis on standard input.

The URL holds a password, so it is no argument: every user of the machine can list those.
"""

import sys

from services.backtest.sweep import QUEUE, sweep_app


def main() -> None:
    """Work until SIGTERM."""
    app = sweep_app(sys.stdin.readline().strip())
    app.worker_main(
        [
            "worker",
            f"--queues={QUEUE}",
            f"--concurrency={int(sys.argv[1])}",
            "--loglevel=warning",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


if __name__ == "__main__":
    main()
