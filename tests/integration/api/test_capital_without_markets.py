"""Without market data the API says what is missing, and computes no size from guesses."""

import pytest

from shared.config import Settings, load_settings
from tests.support.api import RunningApi

GOOD = {"symbol": "BTC", "signal_score": 85, "expected_return_pct": 5, "win_rate": 0.6}


@pytest.fixture
def settings(variables: dict[str, str]) -> Settings:
    """No broker answers at this address."""
    return load_settings({**variables, "KRAKEN_BASE_URL": "http://127.0.0.1:1", "NIJA_RATE_LIMITS": "false"})


@pytest.mark.usefixtures("master")
def test_a_size_needs_market_data_and_the_state_does_not(api: RunningApi) -> None:
    """The leverage is 3 with a low confidence, the gate rejects, and what cannot be computed is a 503."""
    for path, body in (
        ("/api/capital/position-size/kelly", {"symbol": "BTC"}),
        ("/api/capital/allocation/risk-parity", {"symbols": ["BTC", "ETH"]}),
    ):
        response = api.post(path, json=body)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert response.json()["type"] == "urn:nija:problem:not-known"
    leverage = api.get("/api/capital/leverage/optimal/BTC").json()
    assert (leverage["leverage"]["optimal"], leverage["leverage"]["confidence"]) == (3, 30)
    entry = api.post("/api/capital/recommendation/position", json=GOOD).json()
    assert (entry["recommendation"], entry["reason_codes"]) == ("REJECT", ["market_data_missing"])
    analysis = api.get("/api/capital/analysis/complete").json()
    assert analysis["kelly"]["missing"] == "no ATR of 4-hour candles"
    assert analysis["state"]["total_equity"] == api.get("/api/capital/state").json()["total_equity"] == 5_000
