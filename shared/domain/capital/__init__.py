"""Holds the rules of capital management: pure Decimal functions that limit every entry of the strategy."""
