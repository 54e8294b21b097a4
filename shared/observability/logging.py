"""Sets up the logging of a process: one JSON or console line on stderr for each event, without secrets.

Every line has time (UTC), level, event, `process` and, where there is one, `broker`; secrets are taken out.
"""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, TextIO

import structlog
from pydantic import SecretStr

from shared.observability.log_file import LogFile
from shared.observability.redaction import Redactor


def configure_logging(
    process: str,
    *,
    broker: str | None = None,
    level: str = "info",
    output_format: Literal["json", "console"] = "json",
    secrets: Iterable[SecretStr] = (),
    stream: TextIO | None = None,
    file: Path | None = None,
) -> None:
    """Set up logging of this process; called once, by its composition root.

    `process` and `broker` are on every line. `secrets`: values that must never show (`Settings.secrets()`).
    `stream`: stderr by default. `file`: write to this file instead, and follow it when it is renamed. Raises OSError
    when the file cannot be opened.
    """
    redactor = Redactor(secrets)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=str)
        if output_format == "json"
        else structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    )

    def name_process(_logger: Any, _method: str, event: Any) -> Any:
        event["process"] = process
        if broker is not None:
            event.setdefault("broker", broker)
        return event

    handler = logging.StreamHandler(stream or sys.stderr) if file is None else LogFile(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                name_process,
                # An exception becomes text before secrets are taken out: it may quote one.
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                redactor,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    for old in root.handlers:
        if isinstance(old, LogFile):
            old.close()  # of the process that this one was forked from
    root.handlers = [handler]
    root.setLevel(level.upper())
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
