"""Runs nija on one machine: embedded servers, the supervisor, the whole system as one object."""
