"""Can this classifier be trusted? Accuracy, errors, evidence, background, a planted shortcut, and the explanation's own
sanity, in one report."""

import sys
from types import ModuleType
from typing import Any

from maskwise.audit.limits import Limits
from maskwise.audit.run import CRITERIA, Audit, audit

__all__ = ["CRITERIA", "Audit", "Limits", "audit"]


class _Room(ModuleType):
    """This package called is its function: ``mw.audit(…)`` means the same once something has imported the package,
    whose name then stands in the place of the function's in ``maskwise``."""

    def __call__(self, *given: Any, **options: Any) -> Audit:
        return audit(*given, **options)


sys.modules[__name__].__class__ = _Room
