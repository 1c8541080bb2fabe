"""A real Prometheus with the sample fleet, for all tests here."""

import pytest
import sample_fleet

from helpers.prometheus import backfill, prometheus as running_prometheus


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    """A Prometheus that holds the sample fleet and scrapes nothing."""
    home = tmp_path_factory.mktemp("prometheus")
    backfill(home, sample_fleet.openmetrics())
    with running_prometheus(home, {}, "--storage.tsdb.retention.time=100y") as server:
        yield server
