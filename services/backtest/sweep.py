"""Tries many combinations of parameters: reads a file of them, and runs a backtest for each as a Celery task.

The tasks have a queue of their own, `backtests`, so that no hint of a broker ever waits behind a backtest. A task only
computes, so it is acknowledged late: when its worker dies, another one computes it again.
"""

import tomllib
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Final

from celery import Celery
from kombu.entity import Exchange, Queue
from pydantic import BaseModel, ConfigDict

from services.backtest.candle_file import CandleHistory, read_history
from services.backtest.costs import venue_of
from services.backtest.run import Backtest
from shared.domain.amounts import Amount, Instant
from shared.domain.errors import NijaError
from shared.domain.identity import Broker
from shared.domain.strategy.parameters import APEX, ApexParameters
from shared.domain.symbol import Symbol
from shared.messaging.celery_app import celery_url

QUEUE: Final = "backtests"
TASK: Final = "nija.backtest"
MOST_RUNS: Final = 1_000
_KEPT_SECONDS: Final = 86_400


class InvalidSweep(NijaError):
    """The file of a sweep cannot be used; the text says what would be right."""


class SweepJob(BaseModel):
    """One run of a sweep, as it travels to a worker."""

    model_config = ConfigDict(frozen=True)

    candles: Path
    broker: Broker
    symbol: Symbol
    since: Instant | None
    until: Instant | None
    equity: Amount
    slippage: Amount | None
    settings: dict[str, str]
    """The parameters that differ from those of the strategy, by name."""


class SweepRun(BaseModel):
    """The outcome of one run of a sweep."""

    model_config = ConfigDict(frozen=True)

    settings: dict[str, str]
    equity_after: Amount
    profit_share: Amount
    largest_drawdown: Amount
    fees: Amount
    trades: int
    winners: int


def read_combinations(path: Path, fixed: dict[str, str]) -> list[dict[str, str]]:
    """Return every combination of the values that a TOML file lists by parameter, each with the `fixed` ones.

    Raises InvalidSweep, and InvalidParameter for a value that does not fit.
    """
    try:
        # Numbers stay text, so that 0.004 is exactly that.
        listed = tomllib.loads(path.read_text(), parse_float=str)
    except OSError as error:
        raise InvalidSweep(f"the sweep {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidSweep(f"the sweep {path} is not TOML: {error}") from None
    values = {name: _values_of(name, each, path) for name, each in listed.items()}
    if not values:
        raise InvalidSweep(f"the sweep {path} lists no parameter; write lines such as near = [0.004, 0.005]")
    runs = 1
    for each in values.values():
        runs *= len(each)
    if runs > MOST_RUNS:
        raise InvalidSweep(f"the sweep {path} has {runs:,} combinations; at most {MOST_RUNS:,} are tried at once")
    found = [fixed | dict(zip(values, each, strict=True)) for each in product(*values.values())]
    for settings in found:
        parameters_of(settings)
    return found


def _values_of(name: str, listed: Any, path: Path) -> list[str]:
    if not isinstance(listed, list) or not listed or any(isinstance(each, bool | list | dict) for each in listed):
        raise InvalidSweep(f"the sweep {path} has {name} = {listed}; it should be a list, such as {name} = [1, 2]")
    return list(dict.fromkeys(map(str, listed)))


def parameters_of(settings: dict[str, str]) -> ApexParameters:
    """Return the parameters of the strategy with some of them changed. Raises InvalidParameter."""
    parameters = APEX
    for name, value in settings.items():
        parameters = parameters.with_setting(name, value)
    return parameters


def run_job(job: SweepJob) -> SweepRun:
    """Run one backtest. Raises NijaError."""
    history = _history(job.candles, job.since, job.until)
    venue = venue_of(job.broker, job.symbol, job.slippage)
    result = Backtest(history, venue, equity=job.equity, parameters=parameters_of(job.settings)).run()
    return SweepRun(
        settings=job.settings,
        equity_after=result.equity_after,
        profit_share=_short(result.profit_share),
        largest_drawdown=_short(result.largest_drawdown),
        fees=result.fees,
        trades=len(result.trades),
        winners=result.winners,
    )


def sweep_app(redis_url: str) -> Celery:
    """Return a Celery application that knows the queue and the task, on this Redis."""
    app = Celery("nija.backtests", set_as_current=False)
    app.conf.update(
        broker_url=celery_url(redis_url),
        result_backend=celery_url(redis_url),
        result_expires=_KEPT_SECONDS,
        task_queues=[Queue(QUEUE, Exchange(QUEUE, type="direct"), routing_key=QUEUE)],
        task_default_queue=QUEUE,
        task_default_exchange=QUEUE,
        task_default_routing_key=QUEUE,
        task_create_missing_queues=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        broker_connection_retry_on_startup=True,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_transport_options={"visibility_timeout": _KEPT_SECONDS},
    )
    app.task(_run_task, name=TASK)
    return app


def _run_task(job: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"run": run_job(SweepJob.model_validate(job)).model_dump(mode="json")}
    except NijaError as error:
        # As a value: an exception would have to be imported again by the process that reads the result.
        return {"error": str(error)}


@lru_cache(maxsize=1)
def _history(path: Path, since: datetime | None, until: datetime | None) -> CandleHistory:
    # Each process of a worker reads the file once.
    return read_history(path, since, until)


def _short(share: Decimal) -> Decimal:
    return share.quantize(Decimal("0.000001"))
