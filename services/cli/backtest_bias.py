"""`nija backtest --bias`: shows whether a decision depends on what it could not have known. Exit code 1: it does."""

from typing import TYPE_CHECKING

import typer

from services.cli import output
from shared.domain.strategy.parameters import ApexParameters

if TYPE_CHECKING:
    from services.backtest.bias import BiasFinding
    from services.backtest.candle_file import CandleHistory

_MOST_FINDINGS = 20


def check_bias(history: "CandleHistory", parameters: ApexParameters, *, as_json: bool) -> None:
    """Decide again on other versions of the same past, and print every difference."""
    from services.backtest.bias import catches_a_look_ahead, find_bias, sample_of
    from services.backtest.decide_at import decide_at_with

    indexes = sample_of(history)
    with output.progress(f"deciding again on {len(indexes)} candles"):
        decide_at = decide_at_with(parameters)
        findings = find_bias(history.candles, indexes, decide_at)
        works = catches_a_look_ahead(history.candles, decide_at)
    if as_json:
        shown = [_as_json(finding) for finding in findings]
        output.print_json({"candles": len(indexes), "findings": shown, "planted_look_ahead_caught": works})
    else:
        for finding in findings[:_MOST_FINDINGS]:
            output.console.print(
                f"bias: {finding.check} at {finding.candle.opened_at:%Y-%m-%d %H:%M} UTC: {finding.what}"
            )
        output.console.print(
            f"{output.counted(len(indexes), 'candle')} decided again on four other versions of the same past: "
            f"{output.counted(len(findings), 'difference')}"
        )
        output.console.print(f"a planted look-ahead was {'' if works else 'not '}caught")
    if findings or not works:
        raise typer.Exit(1)


def _as_json(finding: "BiasFinding") -> dict[str, str]:
    return {
        "check": finding.check.value,
        "candle": finding.candle.opened_at.isoformat(),
        "what": finding.what,
    }
