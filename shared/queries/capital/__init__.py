"""Answers questions about the capital of a broker's master account.

`choose_account` finds the account. The other functions take its name and return frozen models. Amounts are US dollars
and percentages are 0 to 100.
"""
