"""Can this classifier be trusted? Accuracy, errors, evidence, background, a planted shortcut, and the explanation's own
sanity, in one report."""

from maskwise.audit.limits import Limits
from maskwise.audit.run import CRITERIA, Audit, audit

__all__ = ["CRITERIA", "Audit", "Limits", "audit"]
