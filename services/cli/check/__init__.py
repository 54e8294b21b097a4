"""`nija check …`: questions of a monitoring script, which are answered by the exit code."""
