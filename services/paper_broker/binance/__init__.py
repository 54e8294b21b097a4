"""Speaks Binance's spot dialect for the paper exchange: routes, signature, shapes and error codes."""
