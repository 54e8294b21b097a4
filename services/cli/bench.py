"""`nija bench`: runs a benchmark on its own servers, and prints medians and their ratio.

The benchmarks are in the folder `benchmarks` of the repository and are not installed with nija. So a command imports
its benchmark when it runs.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
import uvloop
from rich.console import Console

from services.cli import output
from services.local_system.embedded import run_server
from services.local_system.embedded_postgres import PostgresServer
from services.local_system.embedded_redis import RedisServer
from shared.brokers.registry import EXAMPLE_BROKER
from shared.config import parse_broker
from shared.domain.errors import NijaError
from shared.observability.logging import configure_logging

app = typer.Typer(
    help="Measure nija on this machine, with servers of its own; in a checkout of the repository.",
    no_args_is_help=True,
)

RoundsOption = Annotated[int, typer.Option("--rounds", min=1, max=1_000, help="Rounds of each side, in turns.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


class NoBenchmarks(NijaError):
    """The benchmarks are missing, because nija was installed without its repository."""


class _Rate(NamedTuple):
    """The name of a rate in JSON, and its meaning in words."""

    name: str
    meaning: str


class _Bench(NamedTuple):
    """The servers and the console of a benchmark. `folder` holds its logs and is removed afterwards."""

    redis_url: str
    postgres: PostgresServer
    folder: Path
    console: Console

    def announce(self, line: str) -> None:
        self.console.print(line)


@app.command()
def fanout(
    followers: Annotated[int, typer.Option(min=1, max=1_000_000, help="Followers of each fill.")] = 10_000,
    rounds: RoundsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Followers a second that one engine plans and delivers to, against one `task.delay()` per follower.

    Real Redis with `appendfsync always`. The figures are medians of rounds that take turns.
    """
    run = _benchmark("fanout")
    with _bench("fan-out", postgres=False) as bench:
        compared = uvloop.run(run(bench.redis_url, followers, rounds, bench.announce))
    ours = _Rate("followers_per_second", "followers a second, planned and delivered by one engine")
    baseline = _Rate("task_delay_per_second", "followers a second, one task.delay() for each")
    _show(compared, ours, baseline, {"followers": followers}, as_json=as_json)


@app.command()
def copy(
    followers: Annotated[int, typer.Option(min=1, max=100_000, help="Followers of each fill.")] = 2_000,
    rounds: RoundsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Durable orders a second, from fill to settled, against a bare asyncio + ccxt loop that does nothing else.

    The real engine, a worker with two children and the bookkeeper on real Redis and PostgreSQL; a stub in the place
    of the broker answers at once. The figures are medians of rounds that take turns.
    """
    run = _benchmark("copy")
    with _bench("copy", postgres=True) as bench:
        database_url = bench.postgres.create_database("bench")
        compared = uvloop.run(run(bench.redis_url, database_url, bench.folder, followers, rounds, bench.announce))
    ours = _Rate("orders_per_second", "orders a second, from fill to settled, all of nija")
    baseline = _Rate("bare_loop_orders_per_second", "orders a second, bare asyncio + ccxt loop")
    _show(compared, ours, baseline, {"followers": followers}, as_json=as_json)


@app.command()
def bulkhead(
    followers: Annotated[int, typer.Option(min=1, max=1_000, help="Followers at each broker.")] = 50,
    seconds: Annotated[float, typer.Option(min=5, max=3_600, help="How long the broker hangs.")] = 60,
    broker: Annotated[str, typer.Option("--broker", "-b", help="Which broker hangs.")] = EXAMPLE_BROKER.value,
    as_json: JsonOption = False,
) -> None:
    """Milliseconds from fill to settled copy at four brokers while the fifth hangs, against the same without the hang.

    Everything runs, on paper brokers: five masters with their followers, workers and queues.
    """
    hanging = parse_broker(broker, "--broker")
    run = _benchmark("bulkhead")
    console = Console(stderr=True, highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="nija-bench-") as folder:
        found = asyncio.run(run(Path(folder), hanging, followers, seconds, console.print))
    if as_json:
        output.print_json(found)
        return
    shown = output.table(f"{hanging.value} hangs for {seconds:.0f} s; copies of the others, fill to settled")
    output.text_columns(shown, "")
    output.number_columns(shown, "copies", "p50 ms", "p99 ms")
    for name, part in (("without the hang", found["without_hang"]), ("with the hang", found["with_hang"])):
        shown.add_row(name, f"{part['copies']:,}", f"{part['p50']:,.0f}", f"{part['p99']:,.0f}")
    output.show(shown)
    output.console.print(f"ratio of p50 {found['ratio']:.2f}, of p99 {found['ratio_p99']:.2f}")


@app.command()
def backtest(
    candles: Annotated[Path, typer.Option(help="A CSV file of one-minute candles, also .gz.")],
    rounds: RoundsOption = 5,
    as_json: JsonOption = False,
) -> None:
    """Candles a second that a backtest decides on, with capital gate and records, against backtesting.py.

    backtesting.py runs similar rules on the same candles, in floats, without gate and records. The figures are medians
    of rounds that take turns, by the clock and by the time of the processor.
    """
    run = _benchmark("backtest")
    console = Console(stderr=True, highlight=False, markup=False)
    found = asyncio.run(run(candles, rounds, console.print))
    parts = found.microseconds
    ours = _Rate("candles_per_second", "candles a second, decided, gated and recorded by nija")
    baseline = _Rate("backtesting_py_per_second", "candles a second, backtesting.py")
    shown = {
        "by_processor": found.by_processor.as_json(ours.name, baseline.name),
        "microseconds": {name: round(cost, 1) for name, cost in parts.items()},
    }
    _show(found.by_clock, ours, baseline, shown, as_json=as_json)
    if not as_json:
        output.console.print("the same by the time of the processor:")
        _show(found.by_processor, ours, baseline, {}, as_json=False)
        costs = output.table("what a decided candle costs, time of the processor")
        output.text_columns(costs, "part")
        output.number_columns(costs, "microseconds")
        for name, cost in parts.items():
            costs.add_row(name, f"{cost:.1f}")
        output.show(costs)


@app.command()
def api(
    followers: Annotated[int, typer.Option(min=1, max=1_000, help="Followers of the master.")] = 50,
    seconds: Annotated[float, typer.Option(min=5, max=3_600, help="How long the API is asked.")] = 60,
    rate: Annotated[int, typer.Option(min=1, max=500, help="Requests a second for each of both paths.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Milliseconds of `capital/state` against `/health` in the same run, and what copying loses meanwhile.

    Everything runs, on a paper broker: a master with its followers, a worker, and the API.
    """
    run = _benchmark("api")
    console = Console(stderr=True, highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="nija-bench-") as folder:
        found = asyncio.run(run(Path(folder), followers, seconds, rate, console.print))
    if as_json:
        output.print_json(found)
        return
    shown = output.table(f"{rate} requests a second of each for {seconds:.0f} s, {followers:,} followers")
    output.text_columns(shown, "")
    output.number_columns(shown, "count", "p50 ms", "p99 ms")
    state, health = found["capital_state"], found["health"]
    shown.add_row("capital/state", f"{state['requests']:,}", f"{state['p50']:,.1f}", f"{state['p99']:,.1f}")
    shown.add_row("health", f"{health['requests']:,}", f"{health['p50']:,.1f}", f"{health['p99']:,.1f}")
    for name, part in (("without", found["copies_without_requests"]), ("with", found["copies_with_requests"])):
        shown.add_row(f"copies {name} requests", f"{part['copies']:,}", f"{part['p50']:,.0f}", f"{part['p99']:,.0f}")
    output.show(shown)
    output.console.print(f"capital/state by health: p50 {found['ratio']:.2f}, p99 {found['ratio_p99']:.2f}")
    output.console.print(f"copies with by without: p50 {found['copy_ratio']:.2f}, p99 {found['copy_ratio_p99']:.2f}")


@app.command()
def execution(
    pace: Annotated[int, typer.Option(min=1, max=15, help="Divides the pauses of the plans; 1: as in trading.")] = 3,
    as_json: JsonOption = False,
) -> None:
    """Basis points that TWAP and ICEBERG save against one market order, in the thin book of a paper broker.

    Everything runs, on a paper broker: the executor of the strategy, a worker, and the ledger. Takes 4 minutes, 11
    with `--pace 1`, and about one with `--pace 15`.
    """
    run = _benchmark("execution")
    console = Console(stderr=True, highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="nija-bench-") as folder:
        found = asyncio.run(run(Path(folder), pace, console.print))
    if as_json:
        output.print_json(found)
        return
    shown = output.table(f"{found['quantity']:g} {found['symbol'].partition('/')[0]}, half of the first 20 levels")
    output.text_columns(shown, "method")
    output.number_columns(shown, "orders", "bp above the best ask", "bp saved", "fees in bp")
    for name, each in found["methods"].items():
        saved = found["saved_basis_points"].get(name)
        shown.add_row(
            name,
            f"{each['orders']}",
            f"{each['basis_points']:.2f}",
            "" if saved is None else f"{saved:.2f}",
            f"{each['fee_basis_points']:.2f}",
        )
    output.show(shown)


@app.command()
def memory(
    followers: Annotated[int, typer.Option(min=100, max=100_000, help="Clients in one process.")] = 1_000,
    as_json: JsonOption = False,
) -> None:
    """KiB that one follower's client costs in a worker process, at each broker."""
    run = _benchmark("memory")
    console = Console(stderr=True, highlight=False, markup=False)
    with tempfile.TemporaryDirectory(prefix="nija-bench-") as folder:
        found = asyncio.run(run(Path(folder), followers, console.print))
    if as_json:
        kib = {broker: round(each, 1) for broker, each in found.items()}
        output.print_json({"kib_per_follower": kib, "highest": max(kib.values()), "followers": followers})
        return
    shown = output.table(f"{followers:,} followers' clients in one process")
    output.text_columns(shown, "broker")
    output.number_columns(shown, "KiB each")
    for name, each in found.items():
        shown.add_row(name, f"{each:.1f}")
    output.show(shown)


def _benchmark(name: str) -> Any:
    """Return the function `name` of the module `name`. Raises NoBenchmarks."""
    try:
        return getattr(import_module(f"benchmarks.{name}"), name)
    except ModuleNotFoundError as error:
        if error.name == "backtesting":
            raise NoBenchmarks("backtesting.py is missing; it is one of the libraries of `make test`") from None
        if error.name not in ("benchmarks", f"benchmarks.{name}"):
            raise
        raise NoBenchmarks(
            "the folder `benchmarks` is missing: it is part of nija's repository and is not installed with nija; "
            "run `nija bench` from a checkout that was installed with `pip install --editable .`"
        ) from None


@contextmanager
def _bench(name: str, *, postgres: bool) -> Iterator[_Bench]:
    """Run a benchmark's servers in a folder that is removed afterwards; progress goes to standard error."""
    console = Console(stderr=True, highlight=False, markup=False)
    # The engine runs in this process and must not log to standard output, which is for the result.
    configure_logging("benchmark", level="warning", output_format="console")
    with ExitStack() as stack:
        stack.enter_context(console.status(f"benchmark {name}"))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nija-bench-")))
        redis, database = RedisServer(folder / "redis"), PostgresServer(folder / "postgres")
        stack.enter_context(run_server(redis, folder / "redis.log"))
        if postgres:
            stack.enter_context(run_server(database, folder / "postgres.log"))
        console.print(f"benchmark {name}: servers run, warming up")
        yield _Bench(redis.url, database, folder, console)


def _show(compared: Any, ours: _Rate, baseline: _Rate, options: dict[str, Any], *, as_json: bool) -> None:
    """Print both rates. `compared` is the Comparison that the benchmark returned."""
    found = compared.as_json(ours.name, baseline.name)
    if as_json:
        output.print_json(found | options)
        return
    followers = f", {options['followers']:,} followers" if "followers" in options else ""
    shown = output.table(f"medians of {found['rounds']} rounds{followers}")
    output.text_columns(shown, "what")
    output.number_columns(shown, "rate", "lowest", "highest")
    for rate in (ours, baseline):
        rates = found[f"{rate.name}_all"]
        shown.add_row(rate.meaning, *(f"{value:,.0f}" for value in (found[rate.name], min(rates), max(rates))))
    output.show(shown)
    output.console.print(f"ratio {found['ratio']:.2f}")
