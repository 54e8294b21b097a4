"""`nija demo`: runs the real system on paper brokers while a person trades, and proves that every copy arrived."""
