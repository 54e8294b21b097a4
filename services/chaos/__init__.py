"""`nija chaos`: the real system on paper brokers, broken on purpose, and the proof that no order was doubled or lost."""
