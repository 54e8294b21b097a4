"""Executes decisions of the strategy on a master account: the orders, their schedule, and what they have filled."""
