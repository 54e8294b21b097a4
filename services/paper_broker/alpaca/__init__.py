"""Speaks Alpaca's dialect for the paper exchange: routes, key headers, shapes and error texts."""
