"""`nija demo`: the real system on paper brokers, a person who trades, and the proof that every copy arrived."""
