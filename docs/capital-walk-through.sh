#!/bin/sh
# Asks every question about the capital of a master account over HTTP, and shows the answers.
#
#     URL=http://127.0.0.1:… TOKEN=nija_… docs/capital-walk-through.sh [BROKER [SYMBOL]]
#
# `nija demo --stay` and `nija up --paper` print the URL. `nija tokens add walk --role read` prints a token.
# Without BROKER, the questions are about the only or first funded master account. SYMBOL is BTC by default.
# Nothing is changed and nothing is ordered. Exit code 0: every path gave the expected answer.
set -eu

if [ -z "${URL:-}" ] || [ -z "${TOKEN:-}" ]; then
    echo "set URL to the address of the API, and TOKEN to a token of it" >&2
    exit 2
fi
BROKER=${1:-}
SYMBOL=${2:-BTC}
LINES_SHOWN=40
unexpected=0

# Prints JSON with each part on one line, as long as it fits.
SHOW='
import json, sys
def show(value, indent=""):
    text = json.dumps(value, ensure_ascii=False)
    if len(indent + text) <= 110 or not isinstance(value, (dict, list)):
        return text
    inner = indent + "  "
    if isinstance(value, list):
        return "[\n" + ",\n".join(inner + show(each, inner) for each in value) + "\n" + indent + "]"
    parts = (f"{inner}{json.dumps(name)}: {show(each, inner)}" for name, each in value.items())
    return "{\n" + ",\n".join(parts) + "\n" + indent + "}"
print(show(json.load(sys.stdin)))'

# ask STATUS METHOD PATH [BODY]: sends a request and shows the answer. Counts an answer with another status.
ask() {
    path=$3
    if [ -n "$BROKER" ]; then
        case $path in
            *\?*) path="$path&broker=$BROKER" ;;
            *) path="$path?broker=$BROKER" ;;
        esac
    fi
    printf '\n== %s %s\n' "$2" "$path"
    if [ $# -gt 3 ]; then
        printf '%s\n' "$4"
        set -- "$1" "$2" "$path" -H "Content-Type: application/json" -d "$4"
    else
        set -- "$1" "$2" "$path"
    fi
    expected=$1 method=$2
    shift 3
    # The token is passed by standard input, because other users of the machine can read command lines.
    answer=$(printf 'header = "Authorization: Bearer %s"\n' "$TOKEN" |
        curl -sS -K - --max-time 60 -X "$method" -w '\n%{http_code}' "$@" "$URL$path") || answer="{}
no answer"
    status=$(printf '%s\n' "$answer" | tail -n 1)
    printf '%s\n' "$answer" | sed '$d' | python3 -c "$SHOW" |
        awk -v most="$LINES_SHOWN" '
            { line[NR] = $0 }
            END {
                for (n = 1; n <= NR; n++) {
                    if (NR <= most || n <= most / 2 || n > NR - most / 2) print line[n]
                    else if (n == int(most / 2) + 1) print "  … " NR - most " more lines"
                }
            }'
    if [ "$status" != "$expected" ]; then
        unexpected=$((unexpected + 1))
        echo "!! $status, and the status $expected was expected"
    fi
}

echo "# 1. What is the account worth, and how has it developed?"
ask 200 GET /api/capital/state
ask 200 GET "/api/capital/history?hours=1"

echo
echo "# 2. How much leverage fits the market and the account? Without market data it is 3, with a low confidence."
ask 200 GET "/api/capital/leverage/optimal/$SYMBOL?win_rate=0.6&market_regime=TRENDING"

echo
echo "# 3. How large should a trade be, by half of Kelly's formula?"
ask 200 POST /api/capital/position-size/kelly \
    "{\"symbol\": \"$SYMBOL\", \"win_rate\": 0.58, \"avg_win\": 1.75, \"avg_loss\": 1, \"market_regime\": \"TRENDING\"}"

echo
echo "# 4. In which margin zone is the account?"
ask 200 GET /api/capital/margin/status

echo
echo "# 5. What may an account of this size do?"
ask 200 GET /api/capital/strategy/scaling

echo
echo "# 6. Which shares carry the same risk? First by candles, then by given volatilities."
ask 200 POST /api/capital/allocation/risk-parity '{"symbols": ["BTC", "ETH"]}'
ask 200 POST /api/capital/allocation/risk-parity '{"volatilities": {"BTC": 2.5, "ETH": 3.2, "SOL": 5.8}}'

echo
echo "# 7. How far is the equity below its peak, and is the circuit breaker open?"
ask 200 GET /api/capital/drawdown/status

echo
echo "# 8 and 10. May an entry be placed, what does it replace, and how large may it be in this order book?"
ask 200 POST /api/capital/recommendation/position \
    "{\"symbol\": \"$SYMBOL\", \"signal_score\": 85, \"expected_return_pct\": 5, \"market_regime\": \"TRENDING\", \"win_rate\": 0.6}"

echo
echo "# 9. How do the buckets compare with their targets?"
ask 200 GET /api/capital/allocation/multi-tier

echo
echo "# All of the above in one answer."
LINES_SHOWN=1000
ask 200 GET "/api/capital/analysis/complete?symbol=$SYMBOL&signal_score=85&expected_return_pct=5&market_regime=TRENDING"

echo
echo "# Bad input gets a problem document, which names the field and never repeats the value."
ask 422 POST /api/capital/position-size/kelly "{\"symbol\": \"$SYMBOL\", \"win_rate\": 1.5}"
ask 422 GET "/api/capital/leverage/optimal/$SYMBOL?market_regime=SIDEWAYS"
ask 404 GET /api/capital/leverage/optimal/NO-SUCH-COIN
TOKEN=nija_000000000000_wrong
ask 401 GET /api/capital/state

echo
if [ "$unexpected" -gt 0 ]; then
    echo "$unexpected answers were not as expected"
    exit 1
fi
echo "every answer was as expected"
