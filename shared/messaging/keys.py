"""Names every Redis key, stream, group and queue, and lists the components that write and read it.

`{b}` stands for the name of the broker in braces. The braces are a hash tag of Redis Cluster: all keys of a broker are
in one slot. So a Lua script may use any of them, and a broker may have a Redis of its own.

    key                        type    written by             read by
    nija:{b}:fills             stream  master_trader          copy_engine
                               entry id `{sequence}-0`, field `fill` = MasterFill
    nija:{b}:dead-letters      stream  copy_engine            an operator
                               entry id of the unreadable entry, its fields and `error`
    nija:{b}:event-dead-letters stream bookkeeper             an operator
                               id (where it is free) and fields of the event, `entry` and `error`
    nija:{b}:halted            hash    copy_engine            status; master account or `*` → reason
    nija:{b}:shards            hash    deliver.lua            copy_engine
                               shard → last delivery, `sequence:ring distance:follower`; `sequence:*` when done
    nija:{b}:shard-count       string  copy_engine            copy_engine; number of shards, never changes
    nija:{b}:shard-lease:<n>   string  copy_engine            copy_engine; token of the engine, expires
    nija:{b}:engines           zset    copy_engine            copy_engine; token → last sign of life, s
    nija:{b}:carries           hash    deliver.lua            copy_engine; follower|asset → opens owed, in the asset
    nija:{b}:mailbox:<f>       list    deliver, put           worker scripts; CopyOrder, first in first out; for
                                                              `master:<account>` StrategyOrder
    nija:{b}:strategy-orders   zset    put.lua, bookkeeper    put.lua; orders of the strategy that were put into a
                                                              mailbox → when, ms
    nija:{b}:ready             zset    deliver, release, …    claim.lua; follower → due time, ms
    nija:{b}:claims            zset    claim.lua              sweep.lua; follower → expiry of the claim, ms
    nija:{b}:fences            hash    claim.lua              worker scripts; follower → fencing number
    nija:{b}:fence             string  claim.lua              claim.lua; the newest fencing number
    nija:{b}:submitting        hash    record.lua             worker; follower → Submission
    nija:{b}:positions:<f>     hash    settle.lua             worker; asset → CopiedPosition
    nija:{b}:events            stream  deliver, settle, …     bookkeeper (group `ledger`); field `event`
    nija:{b}:accounts          hash    broker_worker          copy_engine, worker; follower → AccountSnapshot, the last
                                                              reading as a whole
    nija:{b}:account-summaries hash    broker_worker          copy_engine, worker; follower → AccountSummary, the small
                                                              part that each fill needs
    nija:{b}:account-ages      zset    worker, engine         status; follower → last reading, or when it joined, s
    nija:{b}:connected         set     broker_worker          broker_worker; follower|key hash, of each key with which
                                                              an account was read
    nija:{b}:lent-keys         hash    strategy_trader        broker_worker; mailbox of a master → hash of the key
                                                              with which the strategy trades
    nija:{b}:prices            hash    master_trader (lister) engine, worker, master_trader; symbol → last price, and
                                                              its time if the newest list lacks it; `*` → time of the list
    nija:{b}:needed-assets     zset    worker, master_trader  master_trader (lister); asset → last needed, s
    nija:{b}:lister-lease      string  master_trader          master_trader; token of the process that lists, expires
    nija:{b}:lister            hash    master_trader (lister) status; the error that keeps it from listing
    nija:{b}:account-trouble   hash    broker_worker          worker, status; follower → AccountTrouble
    nija:{b}:alerts            hash    worker, engine,        worker, status; kind|follower → Alert
                                      master_trader,
                                      bookkeeper, CLI
    nija:{b}:order-waits       hash    worker                 worker, nija orders; follower → OrderWait of the head
    nija:{b}:refused-keys      hash    worker, master_trader  worker, master_trader; account → RefusedKey
    nija:{b}:accepted-keys     hash    worker, master_trader  worker, master_trader; address|order or reading → Acceptance
    nija:{b}:reconciliation-requests hash ask.lua             claim.lua, worker; follower → ReconciliationRequest
                                                              from the CLI or the bookkeeper
    nija:{b}:readings          hash    broker_worker          CLI, bookkeeper; follower → AccountReading, read once
    nija:{b}:reconciliation-lease string bookkeeper           bookkeeper; token of the process that makes a round
    nija:{b}:refresh           zset    worker scripts         sweep.lua; follower → account read due, ms
    nija:{b}:instruments       hash    master_trader          copy_engine, worker; symbol → Instrument
    nija:{b}:roster            string  CLI, bookkeeper        deliver.lua, engine, worker; version of the follower list
    nija:{b}:stop              string  CLI, bookkeeper        engine, worker, status; StopState. It is also there
                                                              when nothing is stopped
    nija:{b}:epoch             string  bookkeeper             guarded clients; run id of the Redis that was
                                                              brought in line with the ledger
    nija:{b}:restore-lease     string  bookkeeper             bookkeeper; token of the process that restores, expires
    nija:{b}:master-lease      string  master_trader          master_trader; token of the process, expires
    nija:{b}:trader-lease      string  strategy_trader        strategy_trader, nija stop; token of the process that
                                                              trades, expires
    nija:{b}:master            hash    master_trader          status, copy_engine, capital; last poll, last error,
                                                              equity, holdings
    nija:{b}:stages            hash    sign.lua               status; process → StageRecord, of every stage
    nija:{b}:stage-signs       zset    sign.lua               status; process → last sign of life, ms
    nija:{b}:nonce:<key hash>  string  nonce.lua              nonce.lua; the last nonce given out for an API key
    nija:{b}:limit:<bucket>    string  take, exhaust.lua      take.lua, status; units left, and the time of this, ms
    nija:{b}:circuit           hash    circuit scripts        worker, master_trader, status; failures in a row
    nija:api:limit:…           string  limits (library)       api; requests of one token in a window of a minute
    broker.<name>              list    hints of copy_engine   Celery workers of that broker (task `drain`)
                               and sweep
"""

from typing import Final

from shared.domain.identity import Broker, FollowerId

API_LIMIT_PREFIX: Final = "nija:api:limit"
"""The library `limits` adds the id of the token. These keys belong to no broker."""
LEDGER_GROUP: Final = "ledger"
DRAIN_TASK: Final = "drain"
EVENT_FIELD: Final = "event"
FILL_FIELD: Final = "fill"
LAST_POLL_FIELD: Final = "last_poll_at"
"""A field of the hash `master`. It is set once a master trader has listed the instruments and polled its account."""
HOLDINGS_FIELD: Final = "holdings"
"""A field of the hash `master`: the AccountHoldings of the last reading, for questions about capital."""


def queue_name(broker: Broker) -> str:
    """The Celery queue of a broker."""
    return f"broker.{broker.value}"


def carry_field(follower_id: FollowerId, asset: str) -> str:
    """The field of a follower's asset in the hash `carries`."""
    return f"{follower_id}|{asset}"


def connected_member(follower_id: FollowerId, key_hash: str) -> str:
    """The member of the set `connected` for a follower and its key."""
    return f"{follower_id}|{key_hash}"


class BrokerKeys:
    """The names of one broker's keys."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self.prefix = f"nija:{{{broker.value}}}:"
        self.fills = self.prefix + "fills"
        self.dead_letters = self.prefix + "dead-letters"
        self.event_dead_letters = self.prefix + "event-dead-letters"
        self.halted = self.prefix + "halted"
        self.shards = self.prefix + "shards"
        self.shard_count = self.prefix + "shard-count"
        self.engines = self.prefix + "engines"
        self.carries = self.prefix + "carries"
        self.ready = self.prefix + "ready"
        self.claims = self.prefix + "claims"
        self.strategy_orders = self.prefix + "strategy-orders"
        self.fences = self.prefix + "fences"
        self.fence = self.prefix + "fence"
        self.submitting = self.prefix + "submitting"
        self.events = self.prefix + "events"
        self.accounts = self.prefix + "accounts"
        self.account_summaries = self.prefix + "account-summaries"
        self.account_ages = self.prefix + "account-ages"
        self.connected = self.prefix + "connected"
        self.lent_keys = self.prefix + "lent-keys"
        self.prices = self.prefix + "prices"
        self.needed_assets = self.prefix + "needed-assets"
        self.lister_lease = self.prefix + "lister-lease"
        self.lister = self.prefix + "lister"
        self.account_trouble = self.prefix + "account-trouble"
        self.alerts = self.prefix + "alerts"
        self.order_waits = self.prefix + "order-waits"
        self.refused_keys = self.prefix + "refused-keys"
        self.accepted_keys = self.prefix + "accepted-keys"
        self.reconciliation_requests = self.prefix + "reconciliation-requests"
        self.readings = self.prefix + "readings"
        self.reconciliation_lease = self.prefix + "reconciliation-lease"
        self.refresh = self.prefix + "refresh"
        self.instruments = self.prefix + "instruments"
        self.roster = self.prefix + "roster"
        self.stop = self.prefix + "stop"
        self.epoch = self.prefix + "epoch"
        self.restore_lease = self.prefix + "restore-lease"
        self.master_lease = self.prefix + "master-lease"
        self.trader_lease = self.prefix + "trader-lease"
        self.master = self.prefix + "master"
        self.stages = self.prefix + "stages"
        self.stage_signs = self.prefix + "stage-signs"
        self.circuit = self.prefix + "circuit"
        self.limit_prefix = self.prefix + "limit:"
        self.mailbox_prefix = self.prefix + "mailbox:"
        self.positions_prefix = self.prefix + "positions:"

    def mailbox(self, follower_id: FollowerId) -> str:
        return self.mailbox_prefix + follower_id

    def positions(self, follower_id: FollowerId) -> str:
        return self.positions_prefix + follower_id

    def shard_lease(self, shard: int) -> str:
        return f"{self.prefix}shard-lease:{shard}"

    def nonce(self, key_hash: str) -> str:
        return f"{self.prefix}nonce:{key_hash}"

    def limit(self, bucket: str) -> str:
        return self.limit_prefix + bucket
