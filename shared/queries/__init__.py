"""What can be asked of a running nija: functions that take connections in and return frozen models; no settings."""
