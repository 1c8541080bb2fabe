"""A real Prometheus with the sample fleet, for all tests here."""

import pytest
import sample_fleet

from helpers.prometheus import backfill, prometheus as running_prometheus


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory):
    """A Prometheus that holds the sample fleet and scrapes nothing."""
    with _holding(sample_fleet.samples, tmp_path_factory.mktemp("prometheus")) as server:
        yield server


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    """Another one, with the exporters of the other setup."""
    with _holding(sample_fleet.samples_elsewhere, tmp_path_factory.mktemp("elsewhere")) as server:
        yield server


def _holding(samples, home):
    backfill(home, sample_fleet.openmetrics(samples))
    return running_prometheus(home, {}, "--storage.tsdb.retention.time=100y")
