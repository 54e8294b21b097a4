"""Provides the simulated exchange for the tests of dialects."""

from tests.support.exchange import bench as bench
from tests.support.exchange import make_bench as make_bench
