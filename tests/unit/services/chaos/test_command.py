"""Tests what `nija chaos` refuses before anything is started."""

import sys

import pytest

from services.cli.app import main


@pytest.mark.parametrize("run", ["--steps", "--self-test"])
def test_a_number_of_orders_is_refused_where_it_would_be_ignored(
    run: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2 and both options named; also for the number that is the default."""
    monkeypatch.setenv("NIJA_HOME", "/dev/null")  # nothing could start there
    for orders in ("5", "500"):
        monkeypatch.setattr(sys, "argv", ["nija", "chaos", run, "--orders", orders])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        reported = f"nija: --orders: {run} makes as many orders as it needs; give one of the two\n"
        assert capfd.readouterr().err == reported
