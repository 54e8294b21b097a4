"""Tests that logging goes on although others rename or delete the log file or make it unwritable."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.observability.log_file import LogFile


@pytest.fixture
def log(tmp_path: Path) -> Iterator[logging.Logger]:
    """A logger that writes to `stage.log`."""
    handler = LogFile(tmp_path / "stage.log")
    logger = logging.Logger("of a test")  # noqa: LOG001 - apart from all others
    logger.addHandler(handler)
    yield logger
    handler.close()


def test_a_renamed_or_deleted_file_is_begun_again(tmp_path: Path, log: logging.Logger) -> None:
    """The next line is in a new file, which only its owner may read."""
    path = tmp_path / "stage.log"
    log.warning("one")
    path.rename(tmp_path / "yesterday.log")
    log.warning("two")
    assert (tmp_path / "yesterday.log").read_text() == "one\n"
    assert path.read_text() == "two\n"
    path.unlink()
    log.warning("three")
    assert path.read_text() == "three\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_folder_that_is_gone_does_not_reach_the_code_that_logs(
    tmp_path: Path, log: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    """The line is lost with a note on standard error; once the folder is there again, the log goes on."""
    path, elsewhere = tmp_path / "stage.log", tmp_path.with_name("elsewhere")
    log.warning("one")
    tmp_path.rename(elsewhere)
    log.warning("two")
    assert "No such file or directory" in capsys.readouterr().err
    elsewhere.rename(tmp_path)
    log.warning("three")
    assert path.read_text() == "one\nthree\n"


def test_what_else_the_process_prints_stays_where_it_was(tmp_path: Path) -> None:
    """Only a standard output or error that is the log itself follows the log."""
    code = (
        "import logging, os, sys\nfrom pathlib import Path\n"
        "from shared.observability.logging import configure_logging\n"
        "path = Path(sys.argv[1])\nconfigure_logging('stage', file=path)\n"
        "path.rename(sys.argv[1] + '.1')\nlogging.warning('logged')\nprint('printed')\n"
    )
    path = tmp_path / "stage.log"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("printed\n", "")
    assert '"event": "logged"' in path.read_text()


def test_a_file_that_cannot_be_opened_is_one_line_at_the_start(tmp_path: Path) -> None:
    """It names the setting; nothing is started."""
    done = subprocess.run(
        [sys.executable, "-m", "services.bookkeeper.app"],
        env={"NIJA_ENV_FILE": "", "NIJA_CONFIG_FILE": "", "NIJA_LOG_FILE": str(tmp_path / "missing" / "stage.log")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "NIJA_LOG_FILE=" in done.stderr
    assert "No such file or directory; name a file in a folder that exists" in done.stderr
