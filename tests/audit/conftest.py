"""Pictures that several files of tests audit."""

from __future__ import annotations

from pathlib import Path

import pytest
from audit.scenes import scenes


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("audit") / "scenes")
