"""An audit as one self-contained page, JSON and CSV."""

from __future__ import annotations

import base64
import csv
import io
import json
from pathlib import Path

from maskwise.audit import Audit
from maskwise.core.bootstrap import FEWEST_DRAWN
from maskwise.core.files import atomic_write
from maskwise.report.document import templates
from maskwise.report.leaderboard import no_formula

STATES = {True: "holds", False: "fails", None: "open"}
WORDS = {True: "Holds", False: "Fails", None: "Not known"}
SHADES = {"fails": "fails", "worse": "fails", "holds": "holds", "better": "holds", "not known": "open"}


def write_audit(audit: Audit) -> Path:
    """audit.html, audit.json and audit.csv (a row a criterion) in the audit's folder; the page needs no other file.

    Returns:
        The page.
    """
    with atomic_write(audit.out / "audit.json") as temporary:
        temporary.write_text(json.dumps(audit.plain(), indent=2, default=str, allow_nan=False) + "\n", encoding="utf-8")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["criterion", "holds", "question", "figure"])
    for one in audit.criteria:
        writer.writerow([one.name, WORDS[one.holds].lower(), no_formula(one.question), no_formula(one.figure)])
    with atomic_write(audit.out / "audit.csv") as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")
    page = audit.out / "audit.html"
    with atomic_write(page) as temporary:
        temporary.write_text(audit_page(audit), encoding="utf-8")
    return page


def audit_page(audit: Audit) -> str:
    """The page's HTML."""
    environment = templates()
    environment.filters |= {
        "state": STATES.__getitem__, "word": WORDS.__getitem__, "shade": SHADES.__getitem__,
        "picture": lambda path: base64.b64encode(Path(path).read_bytes()).decode(),
    }  # fmt: skip
    template = environment.get_template("audit.html")
    return template.render(sections=audit.sections, stamp=audit.stamp, least=FEWEST_DRAWN) + "\n"
