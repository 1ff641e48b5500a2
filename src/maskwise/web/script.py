"""What the page does in the browser itself, with the facts that it needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

from maskwise.explainers import methods
from maskwise.web.options import options_said

# Settings in the order of the page's form, as the page's address calls them.
NAMES = ("classifier", "methods", "class", "sess", "scales", "prefilter", "curves", "options")


def page_script(classifiers: Sequence[str], usual: Sequence[Any], bounds: Mapping[str, Any]) -> str:
    """JavaScript for the page's head.

    Args:
        classifiers: that may be chosen.
        usual: the form's values at first, in the order of ``NAMES``.
        bounds: further facts: the most methods, and the ranges of numbers.
    """
    facts = {
        "names": NAMES,
        "classifiers": classifiers,
        "methods": methods.names(),
        "usual": dict(zip(NAMES, usual, strict=True)),
        "options": {method: options_said(method) for method in methods.names()},
        **bounds,
    }
    facts["usual"]["options"] = facts["usual"]["options"] or ""
    code = (resources.files("maskwise.web") / "page.js").read_text(encoding="utf-8")
    return code.replace('"FACTS"', json.dumps(facts).replace("<", "\\u003c"))
