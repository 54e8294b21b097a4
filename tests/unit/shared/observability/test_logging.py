"""Tests the log lines of structlog and of libraries, and that they hold no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog
from pydantic import SecretStr

from shared.observability.logging import configure_logging


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_json_lines_have_who_when_and_what() -> None:
    """Events of structlog and of the standard library become JSON with process, broker, time and level."""
    stream = io.StringIO()
    configure_logging("copy_engine", broker="kraken", stream=stream)
    structlog.get_logger("a").info("planned", followers=3)
    logging.getLogger("library").warning("slow %s", "reply")
    logging.getLogger("library").debug("not shown")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["event"] == "planned"
    assert first["followers"] == 3
    assert second["event"] == "slow reply"
    for line, level in ((first, "info"), (second, "warning")):
        assert (line["process"], line["broker"], line["level"]) == ("copy_engine", "kraken", level)
        assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("output_format", ["json", "console"])
def test_secrets_are_taken_out_of_everything(output_format: Literal["json", "console"]) -> None:
    """Fields, texts, arguments of libraries and exceptions are redacted in both formats."""
    stream = io.StringIO()
    configure_logging("worker", secrets=[SecretStr("top/secret+value")], stream=stream, output_format=output_format)
    log = structlog.get_logger("a")
    log.info("sent", api_key="plain-key-1", headers={"API-Sign": "plain-sign-2"}, url="redis://:plain-pw-3@host/0")
    logging.getLogger("library").error("body nonce=1&key=top%2Fsecret%2Bvalue")
    try:
        int("top/secret+value")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    for secret in ("plain-key-1", "plain-sign-2", "plain-pw-3", "top/secret+value", "top%2Fsecret%2Bvalue"):
        assert secret not in text
    assert "base 10: '***'" in text
