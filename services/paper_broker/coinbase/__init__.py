"""Coinbase Advanced's dialect of the paper exchange: routes, bearer tokens, shapes and error codes."""
