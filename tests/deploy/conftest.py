"""What the tests of the deployment forms share: the forms, rendered once."""

import pytest
from forms import kubernetes_forms


@pytest.fixture(scope="session")
def forms():
    return kubernetes_forms()
