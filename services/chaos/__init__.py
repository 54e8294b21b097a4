"""`nija chaos`: breaks the real system on purpose, on paper brokers, and proves that no order was doubled or lost."""
