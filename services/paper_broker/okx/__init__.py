"""Speaks OKX's dialect for the paper exchange: routes, signature, shapes and error codes."""
