"""Replays candles of the past through the strategy, with the fees, lots and candles of the simulated exchange."""
