"""Provides the simulated exchange for the tests of the library itself."""

from tests.support.exchange import bench as bench
from tests.support.exchange import make_bench as make_bench
