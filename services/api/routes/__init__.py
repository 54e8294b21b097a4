"""Holds one router for each subject. A route calls one query or action, and computes nothing."""
