"""The broker-neutral exchange: accounts, keys, order book, matching, holds, fees, journal. Knows no wire format."""
