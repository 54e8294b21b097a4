"""Holds the SQL of the reports. Parameters are named; a filter that is NULL does not filter."""
# ruff: noqa: S608 - the queries are put together from constants of this module only

from typing import Final

_CHOSEN: Final = """
    SELECT broker, sequence, executed_at, published_at FROM master_fills
    WHERE (CAST(:broker AS text) IS NULL OR broker = :broker) AND sequence > :after_sequence
      AND (CAST(:key_published_at AS timestamptz) IS NULL
           OR (published_at, sequence, broker) < (:key_published_at, :key_sequence, :key_broker))
    ORDER BY published_at DESC, sequence DESC, broker DESC LIMIT :limit
"""

# Fills are chosen first: the view counts the followers of each row that it gives.
FILLS: Final = f"""
    WITH chosen AS MATERIALIZED ({_CHOSEN})
    SELECT s.* FROM chosen c JOIN fill_summary s ON s.broker = c.broker AND s.sequence = c.sequence
    ORDER BY s.published_at DESC, s.sequence DESC, s.broker DESC
"""

REASONS_PER_FILL: Final = """
    SELECT o.broker, o.sequence, o.outcome, coalesce(o.reason, 'unknown') AS reason, count(*) AS count
    FROM unnest(CAST(:brokers AS text[]), CAST(:sequences AS bigint[])) AS asked (broker, sequence)
    JOIN fill_outcomes o ON o.broker = asked.broker AND o.sequence = asked.sequence
    WHERE o.outcome IN ('skipped', 'failed')
    GROUP BY o.broker, o.sequence, o.outcome, coalesce(o.reason, 'unknown')
    ORDER BY count(*) DESC, reason
"""

# `queue`, `broker` and `total` are those of copied orders: a refusal before the send has no such stages.
_STAGES: Final = """
    stages AS (
        SELECT c.broker, c.sequence, 'detect' AS stage, c.published_at - c.executed_at AS took
        FROM chosen c
        UNION ALL
        SELECT d.broker, d.sequence, 'plan', d.decided_at - c.published_at
        FROM chosen c JOIN decisions d ON d.broker = c.broker AND d.sequence = c.sequence
        UNION ALL
        SELECT d.broker, d.sequence, s.stage, s.took
        FROM chosen c
        JOIN decisions d ON d.broker = c.broker AND d.sequence = c.sequence
        JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome = 'copied'
        CROSS JOIN LATERAL (VALUES
            ('queue', e.submitted_at - d.decided_at),
            ('broker', e.occurred_at - e.submitted_at),
            ('total', e.occurred_at - c.executed_at)
        ) AS s (stage, took)
        WHERE s.took IS NOT NULL
    )
"""

_PERCENTILES: Final = """
    count(*) AS count,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM took)::float8 * 1000) AS p50,
    percentile_cont(0.99) WITHIN GROUP (ORDER BY extract(epoch FROM took)::float8 * 1000) AS p99
"""

LATENCY: Final = f"""
    WITH chosen AS MATERIALIZED ({_CHOSEN}), {_STAGES}
    SELECT stage, {_PERCENTILES} FROM stages GROUP BY stage
"""

LATENCY_PER_FILL: Final = f"""
    WITH chosen AS MATERIALIZED (
        SELECT f.broker, f.sequence, f.executed_at, f.published_at
        FROM unnest(CAST(:brokers AS text[]), CAST(:sequences AS bigint[])) AS asked (broker, sequence)
        JOIN master_fills f ON f.broker = asked.broker AND f.sequence = asked.sequence
    ), {_STAGES}
    SELECT broker, sequence, stage, {_PERCENTILES} FROM stages GROUP BY broker, sequence, stage
"""

ORDERS: Final = """
    SELECT d.broker, d.sequence, d.follower_id, d.copy_order_id, d.symbol, d.side,
           CASE WHEN d.skip_reason IS NULL THEN coalesce(e.state, 'queued') ELSE 'skipped' END AS state,
           CASE WHEN d.skip_reason IS NULL THEN e.outcome ELSE 'skipped' END AS outcome,
           coalesce(d.skip_reason, e.reason) AS reason, coalesce(e.message, '') AS message,
           coalesce(e.attempt, 0) AS attempt, e.broker_order_id,
           CASE WHEN e.quantity > 0 THEN e.quantity ELSE d.quantity END AS quantity,
           coalesce(e.filled_quantity, 0) AS filled_quantity, coalesce(e.cost, 0) AS cost,
           coalesce(e.fee, 0) AS fee, coalesce(e.fee_currency, '') AS fee_currency,
           d.decided_at, e.submitted_at, e.occurred_at,
           d.skip_reason AS decided_skip, d.quantity AS planned_quantity, d.equity,
           f.master_equity_before AS master_equity, f.quantity AS master_quantity, f.price, f.quote_price
    FROM decisions d
    LEFT JOIN master_fills f ON f.broker = d.broker AND f.sequence = d.sequence
    LEFT JOIN LATERAL (
        SELECT * FROM order_events
        WHERE copy_order_id = d.copy_order_id
        ORDER BY (outcome IS NOT NULL) DESC, occurred_at DESC, id DESC LIMIT 1
    ) e ON true
    WHERE (:skipped OR d.skip_reason IS NULL)
      AND (CAST(:broker AS text) IS NULL OR d.broker = :broker)
      AND (CAST(:follower_id AS text) IS NULL OR d.follower_id = :follower_id)
      AND (CAST(:sequence AS bigint) IS NULL OR d.sequence = :sequence)
      AND (CAST(:state AS text) IS NULL
           OR CASE WHEN d.skip_reason IS NULL THEN coalesce(e.state, 'queued') ELSE 'skipped' END = :state)
      AND (CAST(:key_sequence AS bigint) IS NULL OR d.sequence < :key_sequence
           OR (d.sequence = :key_sequence AND (d.broker, d.follower_id) > (:key_broker, :key_follower_id)))
    ORDER BY d.sequence DESC, d.broker, d.follower_id LIMIT :limit
"""

POSITIONS: Final = """
    SELECT broker, follower_id, asset, quantity, carried_exit, sequence, occurred_at
    FROM copied_positions
    WHERE (CAST(:broker AS text) IS NULL OR broker = :broker)
      AND (CAST(:follower_id AS text) IS NULL OR follower_id = :follower_id)
      AND (CAST(:among AS text[]) IS NULL OR follower_id = ANY (:among))
      AND (CAST(:asset AS text) IS NULL OR asset = :asset)
      AND (:closed OR quantity <> 0)
      AND (CAST(:key_broker AS text) IS NULL
           OR (broker, follower_id, asset) > (:key_broker, :key_follower_id, :key_asset))
    ORDER BY broker, follower_id, asset LIMIT :limit
"""

ADJUSTMENTS: Final = """
    SELECT broker, follower_id, asset, sequence, occurred_at, quantity_before, quantity_after, carried_exit_before,
           carried_exit_after, real_quantity, actor, reason
    FROM position_adjustments
    WHERE (CAST(:broker AS text) IS NULL OR broker = :broker)
      AND (CAST(:follower_id AS text) IS NULL OR follower_id = :follower_id)
    ORDER BY occurred_at DESC, broker, follower_id, asset
"""

# Followers are chosen first: only their fills are counted.
FOLLOWERS: Final = """
    WITH chosen AS MATERIALIZED (
        SELECT broker, follower_id, source, status, status_reason, joined_sequence FROM followers
        WHERE status <> 'removed'
          AND (CAST(:broker AS text) IS NULL OR broker = :broker)
          AND (CAST(:follower_id AS text) IS NULL OR follower_id = :follower_id)
          AND (CAST(:key_broker AS text) IS NULL OR (broker, follower_id) > (:key_broker, :key_follower_id))
        ORDER BY broker, follower_id LIMIT :limit
    )
    SELECT f.*, coalesce(o.copied, 0) AS copied, coalesce(o.skipped, 0) AS skipped, coalesce(o.failed, 0) AS failed,
           coalesce(o.pending, 0) AS pending, s.equity, s.occurred_at AS equity_at
    FROM chosen f
    LEFT JOIN (
        SELECT broker, follower_id,
               count(*) FILTER (WHERE outcome = 'copied') AS copied,
               count(*) FILTER (WHERE outcome = 'skipped') AS skipped,
               count(*) FILTER (WHERE outcome = 'failed') AS failed,
               count(*) FILTER (WHERE outcome = 'pending') AS pending
        FROM fill_outcomes
        WHERE (CAST(:broker AS text) IS NULL OR broker = :broker)
          AND (CAST(:follower_id AS text) IS NULL OR follower_id = :follower_id)
          AND (CAST(:limit AS bigint) IS NULL OR (broker, follower_id) IN (SELECT broker, follower_id FROM chosen))
        GROUP BY broker, follower_id
    ) o ON o.broker = f.broker AND o.follower_id = f.follower_id
    LEFT JOIN LATERAL (
        SELECT equity, occurred_at FROM account_snapshots a
        WHERE a.broker = f.broker AND a.follower_id = f.follower_id ORDER BY occurred_at DESC LIMIT 1
    ) s ON true
    ORDER BY f.broker, f.follower_id
"""

BALANCES: Final = """
    SELECT DISTINCT ON (user_id) user_id, taken_at, total_equity_usd, available_usd, locked_in_positions_usd, held_usd,
           unpriced
    FROM balance_snapshots WHERE broker = :broker ORDER BY user_id, taken_at DESC
"""

STATUSES: Final = """
    SELECT broker, status, count(*) AS count FROM followers GROUP BY broker, status ORDER BY broker, status
"""

REASONS: Final = """
    SELECT broker, outcome, reason, count(*) AS count FROM fill_outcomes
    WHERE (CAST(:broker AS text) IS NULL OR broker = :broker) AND sequence > :after_sequence
      AND outcome IN ('skipped', 'failed') AND reason IS NOT NULL
    GROUP BY broker, outcome, reason ORDER BY count(*) DESC, broker, outcome, reason
"""

COPIES: Final = """
    SELECT d.broker, d.sequence, d.follower_id, d.copy_order_id, d.symbol, d.side, d.skip_reason, d.quantity,
           d.fraction, d.equity, d.carried_after, e.outcome, e.reason, e.occurred_at AS ended_at,
           coalesce(e.filled_quantity, 0) AS filled_quantity,
           coalesce(e.position_after, 0) AS position_after, coalesce(e.carried_exit_after, 0) AS carried_exit_after
    FROM decisions d
    LEFT JOIN order_events e ON e.copy_order_id = d.copy_order_id AND e.outcome IS NOT NULL
    WHERE d.broker = :broker
    ORDER BY d.sequence, d.follower_id
"""
