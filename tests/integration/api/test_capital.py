"""The API answers every question about capital with the figures of the account, as JSON numbers."""

from typing import Any

import jsonschema_rs
import pytest
import requests

from services.api.application import Api
from services.master_trader.sample_capital import sample
from shared.actions.context import ActionContext
from shared.actions.tokens import add_token
from shared.config import Settings, load_settings
from shared.domain.access import Role
from shared.domain.identity import Broker, MasterAccount
from shared.queries.capital.sources import AccountName
from shared.queries.connections import Connections
from tests.contract.paper import PaperServer
from tests.support.api import RunningApi

MASTER = AccountName(broker=Broker.KRAKEN, account=MasterAccount("master"))
GOOD = {
    "symbol": "BTC-USD",
    "signal_score": 85,
    "expected_return_pct": 5,
    "win_rate": 0.6,
    "avg_win": 2,
    "avg_loss": 1,
    "market_regime": "TRENDING",
}
QUESTIONS: list[tuple[str, str, Any]] = [
    ("GET", "/api/capital/state", None),
    ("GET", "/api/capital/history?hours=48", None),
    ("GET", "/api/capital/leverage/optimal/BTC-USD?win_rate=0.6&market_regime=TRENDING", None),
    (
        "POST",
        "/api/capital/position-size/kelly",
        {"symbol": "BTC/USD", "win_rate": 0.58, "avg_win": 1.75, "avg_loss": 1},
    ),
    ("GET", "/api/capital/margin/status", None),
    ("GET", "/api/capital/strategy/scaling", None),
    ("POST", "/api/capital/allocation/risk-parity", {"symbols": ["BTC", "ETH-USD", "SOLUSDT"]}),
    ("POST", "/api/capital/allocation/risk-parity", {"volatilities": {"BTC": 2.5, "ETH": 3.2, "SOL": 5.8}}),
    ("GET", "/api/capital/drawdown/status", None),
    ("GET", "/api/capital/allocation/multi-tier", None),
    ("POST", "/api/capital/recommendation/position", GOOD),
    ("GET", "/api/capital/analysis/complete?symbol=ETH", None),
    ("GET", "/api/capital/analysis/complete?symbol=ETH&signal_score=85&expected_return_pct=5", None),
]


@pytest.fixture
def settings(variables: dict[str, str], kraken: PaperServer) -> Settings:
    """The paper Kraken is the broker."""
    return load_settings({**variables, "KRAKEN_BASE_URL": kraken.url, "NIJA_RATE_LIMITS": "false"})


def texts_in(document: Any) -> list[str]:
    """Every text of a document that is not a name of a field."""
    if isinstance(document, dict):
        return [text for value in document.values() for text in texts_in(value)]
    if isinstance(document, list):
        return [text for value in document for text in texts_in(value)]
    return [document] if isinstance(document, str) else []


def schema_of(app: Api, method: str, path: str) -> dict[str, Any]:
    """What the document says about the answer of a path."""
    document = app.openapi()
    route = path.partition("?")[0].replace("BTC-USD", "{symbol}")
    content = document["paths"][route][method.lower()]["responses"]["200"]["content"]
    return {**content["application/json"]["schema"], "components": document["components"]}


def problem(response: requests.Response, status: int, kind: str) -> Any:
    """The document, which is a problem of that kind."""
    assert response.status_code == status, response.text
    found = response.json()
    assert found["type"] == f"urn:nija:problem:{kind}"
    return found


@pytest.mark.usefixtures("master")
def test_every_question_has_an_answer_as_the_document_describes_it(
    api: RunningApi, context: ActionContext, connections: Connections
) -> None:
    """A token that may only read is enough. No amount is text, and no field is more than the document names."""
    assert sample(connections, MASTER) is not None, "the history has a point"
    token = add_token(context, "reader", Role.READ, actor="test").text.get_secret_value()
    for method, path, body in QUESTIONS:
        response = api.ask(method, path, token=token, json=body)
        assert response.status_code == 200, f"{path}: {response.text}"
        found = response.json()
        schema = schema_of(api.app, method, path)
        assert not list(jsonschema_rs.validator_for(schema).iter_errors(found)), path
        name = schema["$ref"].rpartition("/")[2]
        assert set(found) == set(schema["components"]["schemas"][name]["properties"])
        amounts = [each for each in texts_in(found) if each.replace(".", "", 1).lstrip("-").isdecimal()]
        assert not amounts, path
        assert "risk-parity" in path or (found["broker"], found["account"]) == ("kraken", "master")


@pytest.mark.usefixtures("master")
def test_the_figures_are_those_of_the_account(api: RunningApi) -> None:
    """5,000 dollars in all, of which 4,000 are free. The odds of the request count."""
    state = api.get("/api/capital/state?broker=kraken&account=master").json()
    assert (state["total_equity"], state["available_balance"], state["positions"]) == (5_000, 4_000, 1)
    leverage = api.get("/api/capital/leverage/optimal/BTCUSDT?win_rate=0.6&market_regime=VOLATILE").json()
    assert (leverage["symbol"], leverage["missing"], leverage["leverage"]["effective"]) == ("BTC/USD", None, 1)
    assert (leverage["leverage"]["factors"]["win"], leverage["leverage"]["factors"]["regime"]) == (1.2, 0.6)
    kelly = api.post("/api/capital/position-size/kelly", json=QUESTIONS[3][2]).json()
    assert (kelly["kelly"]["kelly_pct"], kelly["kelly"]["half_kelly_pct"], kelly["size"]) == (34, 17, 100)
    shares = api.post("/api/capital/allocation/risk-parity", json=QUESTIONS[7][2]).json()["shares"]
    assert shares == {"BTC": 45.2, "ETH": 35.3, "SOL": 19.5}
    entry = api.post("/api/capital/recommendation/position", json=GOOD).json()
    assert (entry["recommendation"], entry["action"]) == ("ENTER", "ENTER_NEW")
    assert 90 < entry["position_size_usd"] <= 100


@pytest.mark.usefixtures("master")
def test_a_stop_is_a_409_until_it_is_resumed(api: RunningApi) -> None:
    """The analysis shows it as the reason of a rejection. A stop of another broker or of a follower does not count."""
    ask = "/api/capital/recommendation/position"
    api.post("/api/stop", json={"broker": "okx"})
    assert api.post(ask, json=GOOD).json()["recommendation"] == "ENTER"
    for scope in ({"broker": "kraken"}, {}):
        api.post("/api/stop", json={**scope, "mode": "close-only"})
        found = problem(api.post(ask, json=GOOD), 409, "stopped")
        assert found["detail"].startswith("Trading is stopped (close-only).")
        analysis = api.get("/api/capital/analysis/complete?signal_score=85&expected_return_pct=5").json()
        assert analysis["recommendation"]["reason_codes"] == ["stopped"]
        api.post("/api/resume", json=scope)
    assert api.post(ask, json=GOOD).json()["recommendation"] == "ENTER"


WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/api/capital/state?account=secretsecret", None, 404, "not-found"),
    ("GET", "/api/capital/state?broker=okx", None, 404, "not-found"),
    ("GET", "/api/capital/leverage/optimal/SECRETSECRET", None, 404, "not-found"),
    ("POST", "/api/capital/recommendation/position", {**GOOD, "symbol": "SECRETSECRET"}, 404, "not-found"),
    ("GET", "/api/capital/analysis/complete?symbol=SECRETSECRET", None, 404, "not-found"),
    ("GET", "/api/capital/history?hours=169", None, 422, "not-valid"),
    ("GET", "/api/capital/history?hours=0", None, 422, "not-valid"),
    ("GET", "/api/capital/leverage/optimal/BTC?market_regime=SECRETSECRET", None, 422, "not-valid"),
    ("GET", "/api/capital/leverage/optimal/BTC?win_rate=NaN", None, 422, "not-valid"),
    ("GET", "/api/capital/leverage/optimal/BTC?win_rate=Infinity", None, 422, "not-valid"),
    ("POST", "/api/capital/position-size/kelly", {"symbol": "BTC", "avg_win": 2}, 422, "not-valid"),
    ("POST", "/api/capital/position-size/kelly", {"symbol": "BTC", "avg_win": -1, "avg_loss": 1}, 422, "not-valid"),
    ("POST", "/api/capital/position-size/kelly", {"symbol": "BTC", "avg_win": 1, "avg_loss": 0}, 422, "not-valid"),
    ("POST", "/api/capital/recommendation/position", {**GOOD, "signal_score": 101}, 422, "not-valid"),
    ("POST", "/api/capital/recommendation/position", {**GOOD, "signal_score": -1}, 422, "not-valid"),
    ("POST", "/api/capital/recommendation/position", {**GOOD, "market_regime": "SECRETSECRET"}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"symbols": []}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"volatilities": {"SECRETSECRET": 0}}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"volatilities": {"SECRETSECRET": -1}}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"volatilities": {"SECRET SECRET": 1}}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"symbols": ["B"], "volatilities": {"B": 1}}, 422, "not-valid"),
    ("POST", "/api/capital/allocation/risk-parity", {"symbols": ["BTC"] * 21}, 422, "not-valid"),
]


@pytest.mark.usefixtures("master")
def test_what_cannot_be_answered_is_a_problem_that_repeats_nothing(api: RunningApi) -> None:
    """Accounts, symbols and brokers that are not in use are 404, and wrong values are 422."""
    for method, path, body, status, kind in WRONG:
        response = api.ask(method, path, json=body)
        problem(response, status, kind)
        assert "secret" not in response.text.lower()


@pytest.mark.usefixtures("master")
def test_a_number_that_json_does_not_know_is_refused(api: RunningApi) -> None:
    """Python's parser accepts NaN and Infinity. A size of them would be nonsense."""
    headers = {"Content-Type": "application/json"}
    for word in ("NaN", "Infinity", "-Infinity", "1e400"):
        for field in ("win_rate", "avg_win"):
            body = f'{{"symbol": "BTC", "avg_loss": 1, "{field}": {word}}}'
            response = api.post("/api/capital/position-size/kelly", data=body, headers=headers)
            errors = problem(response, 422, "not-valid")["errors"]
            assert [each["field"] for each in errors] == [f"body.{field}"]
        for path, body in (
            ("recommendation/position", f'{{"symbol": "BTC", "signal_score": 85, "expected_return_pct": {word}}}'),
            ("allocation/risk-parity", f'{{"volatilities": {{"BTC": {word}}}}}'),
        ):
            problem(api.post(f"/api/capital/{path}", data=body, headers=headers), 422, "not-valid")


def test_before_the_first_reading_there_is_no_answer_yet(api: RunningApi) -> None:
    """503, and when to ask again."""
    response = api.get("/api/capital/state")
    assert problem(response, 503, "not-known")["detail"] == "no master account has been read yet"
    assert response.headers["retry-after"] == "5"
    problem(api.get("/api/capital/state?broker=kraken"), 503, "not-known")
    given = api.post("/api/capital/allocation/risk-parity", json=QUESTIONS[7][2])
    assert given.status_code == 200, "given volatilities need no account"
