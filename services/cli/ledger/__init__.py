"""The commands that show what the ledger holds, and that compare it with the accounts."""
