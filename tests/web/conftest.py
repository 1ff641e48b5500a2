"""One server for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from serving import Served, served


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("gradio", reason="gradio is not installed")
    with served(tmp_path_factory.mktemp("web")) as running:
        yield running
