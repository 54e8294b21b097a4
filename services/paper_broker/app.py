"""Starts the paper broker: `python -m services.paper_broker.app --broker kraken --port 8123`.

The command line options configure a server (on 127.0.0.1 by default) that runs until SIGTERM or SIGINT. Exit codes:
0 stopped, 1 the state file could no longer be written, 2 wrong use.
"""

import argparse
import asyncio
import contextlib
import gc
import signal
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import uvloop
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader

from services.paper_broker.admin import Admin
from services.paper_broker.dialect import LendsMoney, dialect_of
from services.paper_broker.faults import Faults
from services.paper_broker.server import MOST_BODY_BYTES, Server
from shared.domain.errors import NijaError
from shared.domain.identity import Broker
from shared.exchange.candles import Candles, load_candles
from shared.exchange.clock import MarketClock, MonotonicClock, microseconds
from shared.exchange.journal import Journal, JournalUnusable, JournalWriteFailed
from shared.exchange.simulated import simulated_exchange
from shared.exchange.state import State
from shared.observability.start import StageParser, Start, start_of

CANDLE_COIN = "BTC"
_LOOPBACK = "127.0.0.1"
_JOURNAL_VERSION = 1
_SHUTDOWN_SECONDS = 2.0
_LEAST_CANDLE_SECONDS, _MOST_CANDLE_SECONDS = Decimal("0.001"), Decimal(86_400)
_HIGHEST_PORT = 65_535
_GENERATIONS = (100_000, 50, 1_000)


class WrongUse(NijaError):
    """The command line is wrong. The text names the option and says what would be right."""


def main() -> None:
    """Run the paper broker."""
    options = _options()
    with start_of("paper_broker", debug=options.debug) as start:
        sys.exit(uvloop.run(_serve(options, start)))


def _options() -> argparse.Namespace:
    parser = StageParser(prog="paper_broker", description="A paper broker.")
    parser.add_argument(
        "--broker", required=True, choices=sorted(broker.value for broker in Broker), help="whose API to speak"
    )
    parser.add_argument("--host", default=_LOOPBACK, help="address to listen on; every client there may use `/paper/`")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--port-file", type=Path, help="file that the chosen port is written to")
    parser.add_argument("--seed", type=int, default=1, help="prices and faults are the same for the same seed")
    parser.add_argument("--candles", type=Path, help=f"candle file whose prices {CANDLE_COIN} follows")
    parser.add_argument("--candle-seconds", type=Decimal, default=Decimal(1), help="how long one candle lasts")
    parser.add_argument(
        "--market-from",
        type=_moment,
        help="prices and candles have the times of the file, begin at this time, and move when a trader waits",
    )
    parser.add_argument("--market-until", type=_moment, help="where such a market ends; the end of the file without it")
    parser.add_argument("--state", type=Path, help="journal that is read at the start and appended to")
    parser.add_argument(
        "--no-rate-limits", action="store_true", help="lift the broker's rate limits; for benchmarks only"
    )
    return parser.parse_args()


async def _serve(options: argparse.Namespace, start: Start) -> int:
    dialect = dialect_of(Broker(options.broker))(enforces_rate_limits=not options.no_rate_limits)
    journal = Journal(options.state)
    market_candles = None if options.candles is None else load_candles(options.candles)
    if not _LEAST_CANDLE_SECONDS <= options.candle_seconds <= _MOST_CANDLE_SECONDS:
        raise WrongUse(f"--candle-seconds must be from {_LEAST_CANDLE_SECONDS} to {_MOST_CANDLE_SECONDS}")
    if not 0 <= options.port <= _HIGHEST_PORT:
        raise WrongUse(f"--port must be from 0 (any free port) to {_HIGHEST_PORT}")
    market = _market_clock(options, market_candles)
    instruments = dialect.instruments
    state = State(instruments, journal)
    clock = MonotonicClock()
    anchor = _replayed(options, journal, state, clock)
    if market is not None and state.market_moved_to is not None:
        market.put(state.market_moved_to)
    replayed = (
        {} if market_candles is None else {s: market_candles for s, i in instruments.items() if i.base == CANDLE_COIN}
    )
    exchange = simulated_exchange(
        clock=clock,
        instruments=instruments,
        seed=options.seed,
        candles=replayed,
        candle_microseconds=int(options.candle_seconds * 1_000_000),
        market=market,
        started_at=anchor,
        fee_rates=dialect.fee_rates,
        identifiers=dialect.identifiers(options.seed),
        state=state,
        buying_power=dialect.buying_power if isinstance(dialect, LendsMoney) else None,
    )
    faults = Faults(options.seed)
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def fail(error: JournalWriteFailed) -> None:
        sys.stderr.write(f"error: {error}\n")
        if not stopped.done():
            stopped.set_result(1)

    server = Server(
        dialect=dialect,
        exchange=exchange,
        admin=Admin(options.broker, exchange, dialect, faults, clock, market),
        faults=faults,
        journal=journal,
        clock=clock,
        on_failure=fail,
    )
    # Hundreds of thousands of orders and fills stay in memory, so the collector need not scan them again and again.
    gc.freeze()
    gc.set_threshold(*_GENERATIONS)
    try:
        return await _listen(options, server, faults, stopped, start)
    finally:
        journal.close()


def _moment(text: str) -> datetime:
    """Read a time of an option. Raises ArgumentTypeError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2022-01-04T00:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def _market_clock(options: argparse.Namespace, candles: Candles | None) -> MarketClock | None:
    """Return the time of a market in the past; None: the market has the time of the machine. Raises WrongUse."""
    if options.market_from is None:
        if options.market_until is not None:
            raise WrongUse("--market-until needs --market-from, where the market begins")
        return None
    if candles is None:
        raise WrongUse("--market-from needs --candles, the file whose times it means")
    until = candles.ends_at if options.market_until is None else options.market_until
    if not candles.starts_at <= options.market_from < until <= candles.ends_at:
        span = f"{candles.starts_at:%Y-%m-%dT%H:%M} to {candles.ends_at:%Y-%m-%dT%H:%M}"
        raise WrongUse(f"--market-from must be before --market-until, and both in the file, {span} UTC")
    return MarketClock(microseconds(options.market_from), microseconds(until))


def _replayed(options: argparse.Namespace, journal: Journal, state: State, clock: MonotonicClock) -> int:
    """Restore the state from the journal. Returns the moment at which its prices began."""
    anchor = None
    for event in journal.open():
        if event[:1] == ["start"]:
            if event[1:3] != [_JOURNAL_VERSION, options.broker]:
                raise JournalUnusable(f"--state {options.state}: it is the journal of another broker or version")
            anchor = int(event[3])
        elif anchor is None:
            raise JournalUnusable(f"--state {options.state}: it is not the journal of a paper broker")
        else:
            state.replay(event)
    if anchor is None:
        anchor = clock()
        journal.record(["start", _JOURNAL_VERSION, options.broker, anchor])
        journal.commit()
    return anchor


async def _listen(
    options: argparse.Namespace, server: Server, faults: Faults, stopped: "asyncio.Future[int]", start: Start
) -> int:
    loop = asyncio.get_running_loop()
    runner = web.ServerRunner(
        web.Server(server.handle, request_factory=_request, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS
    )
    await runner.setup()
    site = web.TCPSite(runner, options.host, options.port, backlog=4096)
    try:
        await site.start()
    except OSError as error:
        await runner.cleanup()
        reason = error.strerror or str(error)
        raise WrongUse(f"--port {options.port}: cannot listen on {options.host}: {reason}; choose another") from error
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: None if stopped.done() else stopped.set_result(0))
    _, port = runner.addresses[0][:2]
    ticking = asyncio.create_task(server.tick())
    try:
        _announce(options, port)
        start.succeeded()
        return await stopped
    finally:
        ticking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await ticking
        faults.clear()
        await runner.cleanup()


def _announce(options: argparse.Namespace, port: int) -> None:
    if options.port_file is not None:
        # The file is renamed into place, so that a reader never sees half a number.
        partial = options.port_file.with_name(options.port_file.name + ".partial")
        try:
            partial.write_text(f"{port}\n")
            partial.replace(options.port_file)
        except OSError as error:
            raise WrongUse(f"--port-file {options.port_file}: cannot be written: {error.strerror}") from error
    sys.stdout.write(f"paper {options.broker} listens on http://{options.host}:{port}\n")
    sys.stdout.flush()


def _request(
    message: RawRequestMessage,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    loop = asyncio.get_running_loop()
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=MOST_BODY_BYTES)


if __name__ == "__main__":
    main()
