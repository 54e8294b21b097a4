"""Speaks the dialect of Coinbase Advanced for the paper exchange: routes, bearer tokens, shapes and error codes."""
