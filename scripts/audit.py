"""What is installed beside maskwise: known holes, licences, withdrawn releases.

Three looks, each of which says when it could not be taken:

1. known vulnerabilities, by pip-audit, whose database is on the network;
2. licences, from the packages' own metadata: what asks for something in return (GPL, AGPL, non-commercial) is named;
3. versions below a floor that matters for safety, known without a network (torch before 2.6 unpickles in spite of
   ``weights_only``). Which releases were withdrawn only an index knows: pip says so when it installs one.

Ends with 1 where one of them found something, 2 where the vulnerabilities could not be looked up.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from importlib import metadata
from typing import cast

ASKS = re.compile(r"\b(A?GPL|SSPL|CC[- ]BY[- ]NC|non-?commercial|proprietary)", re.IGNORECASE)
GIVES = re.compile(r"\b(LGPL|Lesser|with exceptions?|or later or MIT)", re.IGNORECASE)
FLOORS = {  # below these a file can run code, or overrun memory
    "torch": ((2, 6), "CVE-2025-32434: torch.load runs code in spite of weights_only"),
    "pillow": ((10, 3), "CVE-2024-28219: buffer overflow"),
    "pyyaml": ((5, 4), "CVE-2020-14343: full_load runs code"),
    "jinja2": ((3, 1, 6), "CVE-2025-27516: sandbox escape"),
}
ACCEPTED = {"nvidia-": "CUDA's own libraries, which torch brings along on Linux"}


@dataclass(frozen=True)
class Installed:
    """One package."""

    name: str
    version: str
    licence: str


def requirements(root: str) -> set[str]:
    """The names of all that ``root`` needs, and of what those need, as installed here; no extra is followed."""
    found: set[str] = set()
    waiting = [root]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [re.split(r"[\s;<>=!~\[(]", need, maxsplit=1)[0] for need in needs if "extra ==" not in need]
    return found


def installed(names: set[str]) -> Iterator[Installed]:
    for name in sorted(names):
        about = cast(Message, metadata.metadata(name))
        classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier") or [] if c.startswith("License")]
        said = about.get("License-Expression") or "; ".join(classified) or (about.get("License") or "").strip()
        yield Installed(name, metadata.version(name), said.splitlines()[0][:80] if said else "")


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:4])


def vulnerabilities(timeout: int) -> tuple[list[str] | None, str]:
    """What pip-audit found; None where it could not look, and why."""
    command = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--timeout", "10"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {timeout} s"
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        why = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return None, "pip-audit is not installed" if "No module named" in why else why[:200]
    skipped = [d["name"] for d in found if d.get("skip_reason")]
    if len(skipped) == len(found):
        return None, f"the database answered for none of {len(found)} packages"
    holes = [f"{d['name']} {d['version']}: {v['id']}" for d in found for v in d.get("vulns", [])]
    return holes, f"{len(found) - len(skipped)} packages looked up, {len(skipped)} not"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", default="maskwise", help="the package whose requirements are looked at")
    parser.add_argument("--timeout", type=int, default=120, help="seconds for the vulnerability database")
    parser.add_argument("--offline", action="store_true", help="without the first look")
    asked = parser.parse_args()
    found = list(installed(requirements(asked.root)))
    if not found:
        print(f"{asked.root} is not installed")
        return 2
    wrong = 0
    holes, why = (None, "--offline") if asked.offline else vulnerabilities(asked.timeout)
    if holes is None:
        print(f"vulnerabilities: NOT LOOKED UP ({why})")
    else:
        print(f"vulnerabilities: {len(holes)} ({why})")
        wrong += len(holes)
        print(*(f"  {hole}" for hole in holes), sep="\n", end="\n" if holes else "")
    strict = [p for p in found if ASKS.search(p.licence) and not GIVES.search(p.licence)]
    asks = [p for p in strict if not p.name.startswith(tuple(ACCEPTED))]
    silent = [p.name for p in found if not p.licence]
    print(f"licences: {len(found)} packages, {len(asks)} that ask for something in return, {len(silent)} say nothing")
    for prefix, reason in ACCEPTED.items():
        print(f"  accepted: {sum(p.name.startswith(prefix) for p in strict)} called {prefix}…, {reason}")
    print(*(f"  {p.name} {p.version}: {p.licence}" for p in asks), sep="\n", end="\n" if asks else "")
    print(f"  without a licence in their metadata: {', '.join(silent)}" if silent else "", end="\n" if silent else "")
    old = [(p, *FLOORS[p.name]) for p in found if p.name in FLOORS and numbers(p.version) < FLOORS[p.name][0]]
    print(f"floors: {len(old)} below; withdrawn releases: not looked up")
    for package, floor, reason in old:
        print(f"  {package.name} {package.version} < {'.'.join(map(str, floor))}: {reason}")
    wrong += len(asks) + len(old)
    return 1 if wrong else 2 if holes is None and not asked.offline else 0


if __name__ == "__main__":
    sys.exit(main())
