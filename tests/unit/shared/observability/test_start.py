"""Tests that a process that cannot start prints one line without secrets, and a traceback only on request."""

import logging
from collections.abc import Callable

import pytest
from pydantic import SecretStr

from shared.domain.errors import NijaError
from shared.observability.start import StageParser, Start, start_of


class WrongSetting(NijaError):
    """An error of the kind that a stage raises."""


def ended_with(work: Callable[[Start], None], *, debug: bool = False) -> object:
    """The exit code of a process that does this work."""
    try:
        with start_of("bookkeeper", debug=debug) as start:
            work(start)
    except SystemExit as ended:
        return ended.code
    return None


def test_an_error_of_nija_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Several lines of text become one line, which begins with the name of the process."""

    def work(_start: Start) -> None:
        raise WrongSetting("REDIS_URL is missing\nDATABASE_URL is missing\n")

    assert ended_with(work) == 2
    assert capsys.readouterr() == ("", "bookkeeper: REDIS_URL is missing; DATABASE_URL is missing\n")


def test_an_unexpected_error_is_named_by_its_class(capsys: pytest.CaptureFixture[str]) -> None:
    """This includes an error inside an exception group. The line says how to get the traceback."""

    def work(_start: Start) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [KeyError("rows")])])

    assert ended_with(work) == 2
    assert capsys.readouterr().err == "bookkeeper: unexpected KeyError: 'rows' (NIJA_DEBUG=1 prints where)\n"


@pytest.mark.parametrize("by_variable", [False, True])
def test_debug_prints_the_traceback_before_the_line(
    by_variable: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The option or NIJA_DEBUG switches it on. Neither the traceback nor the line contains secrets."""
    monkeypatch.setenv("NIJA_DEBUG", "1" if by_variable else "")

    def work(start: Start) -> None:
        start.conceal([SecretStr("hunter2-and-more")])
        raise WrongSetting("redis://:un/known@host refuses hunter2-and-more")

    assert ended_with(work, debug=not by_variable) == 2
    *trace, line = capsys.readouterr().err.splitlines()
    assert trace[0] == "Traceback (most recent call last):"
    assert any("test_start.py" in each for each in trace)
    assert line == "bookkeeper: redis://:***@host refuses ***"
    assert "hunter2" not in "".join(trace)
    assert "un/known" not in "".join(trace)


def test_a_failed_start_is_reported_where_the_process_wants(capsys: pytest.CaptureFixture[str]) -> None:
    """Each receiver gets the text without secrets. A failing receiver does not affect the line or the others."""
    received: list[str] = []

    def broken(_text: str) -> None:
        raise OSError("disk full")

    def work(start: Start) -> None:
        start.conceal([SecretStr("hunter2-and-more")])
        start.on_failure += [broken, received.append]
        raise WrongSetting("the password hunter2-and-more is refused")

    assert ended_with(work) == 2
    assert received == ["the password *** is refused"]
    assert capsys.readouterr().err == "bookkeeper: the password *** is refused\n"


def test_after_the_start_an_error_is_a_defect_in_the_log(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The exit code is 1, and the log contains the traceback, so a second run is not needed."""

    def work(start: Start) -> None:
        start.succeeded()
        raise KeyError("rows")

    with caplog.at_level(logging.CRITICAL):
        assert ended_with(work) == 1
    assert "unexpected" not in capsys.readouterr().err


def test_a_wrong_option_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The usage of all options is not printed; `--help` prints it."""
    parser = StageParser(prog="bookkeeper")
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--brokr", "kraken"])
    assert ended.value.code == 2
    assert capsys.readouterr().err == "bookkeeper: unrecognized arguments: --brokr kraken (--help shows all options)\n"
