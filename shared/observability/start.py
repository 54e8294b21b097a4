"""Ends a process that cannot start with one line on standard error and exit code 2.

    with start_of("bookkeeper", debug=arguments.debug) as start:
        settings = load_settings()
        start.conceal(settings.secrets())
        start.on_failure.append(remember)      # called with the text of the line
        …                                      # any exception here: one line, exit code 2
        start.succeeded()                      # from here on: the log with a traceback, exit code 1

A traceback is printed only with `--debug` or NIJA_DEBUG=1. Secrets are taken out of both.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NoReturn

import structlog
from pydantic import SecretStr

from shared.domain.errors import NijaError
from shared.observability.redaction import Redactor

REFUSED: Final = 2
"""Exit code of a process that could not start: wrong use, a wrong setting, or a server that cannot be used."""
DEFECT: Final = 1
"""Exit code of a process that ended by an unexpected error after its start."""
INTERRUPTED: Final = 130
"""Exit code after Ctrl-C, as a shell reports it."""
DEBUG_VARIABLE: Final = "NIJA_DEBUG"
_YES: Final = frozenset({"1", "true", "yes", "on"})

log = structlog.get_logger()


class Start:
    """The start of one process. `debug`: print a traceback with the line."""

    def __init__(self, process: str, *, debug: bool = False) -> None:
        self.process = process
        self.debug = debug or debug_is_wanted()
        self.is_over = False
        self.on_failure: list[Callable[[str], None]] = []
        """Each is called with the text of the line, without the name of the process. Its own errors are ignored."""
        self._redactor = Redactor()

    def conceal(self, secrets: Iterable[SecretStr]) -> None:
        """Keep these values out of the line and out of the traceback (`Settings.secrets()`)."""
        self._redactor = Redactor(secrets)

    def succeeded(self) -> None:
        """Say that the process has started: a later exception is a defect, and goes to the log."""
        self.is_over = True

    def fail(self, error: BaseException, code: int = REFUSED) -> NoReturn:
        """End the process because of `error`, with this exit code."""
        text = self._redactor.text(one_line(error))
        for report in self.on_failure:
            with suppress(Exception):
                report(text)
        if self.debug:
            sys.stderr.write(self._redactor.text("".join(traceback.format_exception(error))))
        sys.stderr.write(f"{self.process}: {text}\n")
        sys.stderr.flush()
        raise SystemExit(code) from None


@contextmanager
def start_of(process: str, *, debug: bool = False) -> Iterator[Start]:
    """Run the block as the start, and then the work, of `process`. Raises SystemExit for every error."""
    start = Start(process, debug=debug)
    try:
        yield start
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except Exception as error:
        if start.is_over:
            log.critical("ended by a defect", exc_info=error)
            raise SystemExit(DEFECT) from None
        start.fail(error)


def one_line(error: BaseException) -> str:
    """What went wrong, as one line. An error that is not nija's own is named by its class."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    text = "; ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, NijaError) and text:
        return text
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return f"unexpected {named} ({DEBUG_VARIABLE}=1 prints where)"


def debug_is_wanted() -> bool:
    """Whether NIJA_DEBUG is set in the environment of this process. It is read before the settings are."""
    return os.environ.get(DEBUG_VARIABLE, "").strip().lower() in _YES


class StageParser(argparse.ArgumentParser):
    """The options of a stage. It has `--debug`, and a wrong option is one line and exit code 2."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.add_argument(
            "--debug", action="store_true", help=f"print a traceback when the start fails ({DEBUG_VARIABLE}=1)"
        )

    def error(self, message: str) -> NoReturn:
        """End the process: the options cannot be followed."""
        sys.stderr.write(f"{self.prog}: {message} (--help shows all options)\n")
        raise SystemExit(REFUSED)
