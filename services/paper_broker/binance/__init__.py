"""Binance's spot dialect of the paper exchange: routes, signature, shapes and error codes."""
