"""`nija check …`: answers questions of a monitoring script by the exit code."""
