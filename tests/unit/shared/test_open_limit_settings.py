"""Tests the settings of the limits of opens: their defaults, their sources, and what the error for a wrong one says."""

from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from shared.config import ConfigurationError, load_settings
from shared.domain.copying.open_limits import OpenLimits


def test_opens_have_limits_of_age_and_price_by_default(tmp_path: Path) -> None:
    """A minute, 1.5 % for most assets, and 0.5 % for BTC and ETH."""
    expected = OpenLimits(timedelta(seconds=60), Decimal("0.015"), Decimal("0.005"))
    assert load_settings({}, folder=tmp_path).open_limits == expected


def test_limits_come_from_a_file_and_the_environment_and_reach_other_processes(tmp_path: Path) -> None:
    """A file may have the percentages as numbers."""
    (tmp_path / "nija.toml").write_text("open_price_limit_percent = 2.5\nopen_max_age_seconds = 90\n")
    settings = load_settings({"NIJA_OPEN_PRICE_LIMIT_LIQUID_PERCENT": "0.1"}, folder=tmp_path)
    expected = OpenLimits(timedelta(seconds=90), Decimal("0.025"), Decimal("0.001"))
    assert settings.open_limits == expected
    assert load_settings(settings.environment(), folder=tmp_path).open_limits == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NIJA_OPEN_MAX_AGE_SECONDS", "0", "greater than 0"),
        ("NIJA_OPEN_PRICE_LIMIT_PERCENT", "0", "greater than 0"),
        ("NIJA_OPEN_PRICE_LIMIT_PERCENT", "-1", "greater than 0"),
        ("NIJA_OPEN_PRICE_LIMIT_PERCENT", "1.5%", "a valid decimal"),
        ("NIJA_OPEN_PRICE_LIMIT_PERCENT", "NaN", "a finite number"),
        ("NIJA_OPEN_PRICE_LIMIT_LIQUID_PERCENT", "150", "less than or equal to 100"),
    ],
)
def test_a_wrong_limit_is_named_with_what_would_be_right(tmp_path: Path, name: str, value: str, expected: str) -> None:
    """A limit of 0 would stop all opens, and is refused."""
    with pytest.raises(ConfigurationError) as raised:
        load_settings({name: value}, folder=tmp_path)
    assert f"{name}={value} is not valid: should be {expected}" in str(raised.value)
