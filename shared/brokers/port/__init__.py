"""Defines the port to a broker: what the stages ask of it, in the domain's own types.

A `BrokerConnection` is one per process and broker: HTTP session, markets, prices. `account()` is cheap enough
to be called for every follower that is served. All methods raise `shared.brokers.errors` and nothing else.
"""
