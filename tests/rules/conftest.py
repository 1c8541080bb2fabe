"""Starts at the beginning, beside each other, what takes minutes: some of it waits most of the time, the rest uses each CPU."""

from concurrent.futures import ThreadPoolExecutor

import pytest


def pytest_collection_modifyitems(items):
    """What is prepared is waited for last."""
    items.sort(key=lambda item: hasattr(item.module, "prepare"))


@pytest.fixture(scope="session", autouse=True)
def _under_way(request, tmp_path_factory):
    """For each module with a function `prepare` of which tests are selected: what that will return. It is given a folder and the
    parameters of these tests."""
    parameters = {}
    for item in request.session.items:
        if hasattr(item.module, "prepare"):
            parameters.setdefault(item.module, []).append(item.callspec.params if hasattr(item, "callspec") else {})
    with ThreadPoolExecutor() as pool:
        yield {module: pool.submit(module.prepare, tmp_path_factory.mktemp(module.__name__), of_tests)
               for module, of_tests in parameters.items()}


@pytest.fixture
def prepared(request, _under_way):
    """A function that waits for what this module prepares."""
    return _under_way[request.module].result
