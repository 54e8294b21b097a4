"""Serves questions and actions over HTTP, for programs and pages (docs/api.md)."""
