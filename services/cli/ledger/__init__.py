"""Holds the commands that show what is in the ledger, and that compare it with the accounts."""
