"""Alpaca's dialect of the paper exchange: routes, key headers, shapes and error texts."""
