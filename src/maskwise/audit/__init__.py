"""Can this classifier be trusted? Accuracy, errors, evidence, background, a planted shortcut, and the explanation's own
sanity, in one report."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from maskwise.audit.limits import CRITERIA, Limits

if TYPE_CHECKING:
    from maskwise.audit.run import Audit, audit

__all__ = ["CRITERIA", "Audit", "Limits", "audit"]


class _Room(ModuleType):
    """This package called is its function: ``mw.audit(…)`` means the same once something has imported the package,
    whose name then stands in the place of the function's in ``maskwise``."""

    def __call__(self, *given: Any, **options: Any) -> Audit:
        from maskwise.audit.run import audit

        return audit(*given, **options)

    def __getattr__(self, name: str) -> Any:
        """The audit itself is loaded when it is first asked for: a criterion that is not known is refused without."""
        if name not in ("Audit", "audit"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module("maskwise.audit.run"), name)


sys.modules[__name__].__class__ = _Room
