"""Stores the orders that the strategy places on master accounts, their events and results."""
