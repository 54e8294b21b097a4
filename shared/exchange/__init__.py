"""Simulates an exchange: accounts, order book, matching, holds, fees, prices and candles, without any wire format.

It is a library. It needs no server and no settings, and its time is a clock that the caller passes in: the paper
brokers pass the machine's time, a backtest or a test passes one that it moves itself.

>>> from datetime import UTC, datetime, timedelta
>>> from decimal import Decimal
>>> from shared.domain.market_data import Interval
>>> from shared.domain.fill import Side
>>> from shared.exchange.clock import SimulatedClock
>>> from shared.exchange.orders import NewOrder, OrderType
>>> from shared.exchange.simulated import simulated_exchange
>>> clock = SimulatedClock(datetime(2024, 1, 1, tzinfo=UTC))
>>> exchange = simulated_exchange(clock=clock, seed=1)
>>> account = exchange.state.add_account("alice", {"USD": Decimal(1000)}, [("key", "secret")], frozenset())
>>> key = exchange.state.keys["key"]
>>> order = exchange.place(key, NewOrder("BTC/USD", Side.BUY, OrderType.MARKET, Decimal("0.01")))
>>> order.state.value, account.free("BTC")
('filled', Decimal('0.01'))
>>> clock.advance(timedelta(minutes=5))
>>> exchange.advance()  # executes what time and price have brought
>>> [candle.is_closed for candle in exchange.candles("BTC/USD", Interval.FIVE_MINUTES, limit=3)]
[True, True, False]
"""
