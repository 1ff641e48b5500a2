"""A toy classifier in place of a real one, and a picture to explain."""

from __future__ import annotations

from pathlib import Path

import pytest
from calling import save_picture

from maskwise.classifiers import Classifier


@pytest.fixture
def small(tiny: Classifier, monkeypatch: pytest.MonkeyPatch) -> Classifier:
    """The toy classifier in place of the one that a command would load."""
    monkeypatch.setattr("maskwise.classifiers.load_classifier", lambda name, weights=None: tiny)
    return tiny


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "dog.png"
    path.parent.mkdir()
    save_picture(path, 50, 70)
    return path
