"""The bill of materials, as CycloneDX: python -m deploy.sbom BUILD/SBOM.json

What riskd runs with and its hashes are what the lock says; which package needs which, and under which licence each
comes, is what this environment says, in which all of it is installed. cyclonedx-py reads either, and neither for both.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

LOCK: Final = "requirements/run.txt"
ROOT: Final = "root-component"
"""The name that the tool gives to riskd itself."""


def told_by(*command: str) -> dict[str, Any]:
    """The output of cyclonedx-py, made reproducible. It is only a part of the bill, so it is not validated: that
    would take 20 seconds."""
    tool = Path(sys.executable).with_name("cyclonedx-py")
    how = ("--pyproject", "pyproject.toml", "--output-reproducible", "--no-validate", "--of", "JSON")
    quiet = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run([tool, *command[:1], *how, *command[1:]], env=quiet, capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def normal(name: str) -> str:
    """The normalised name of a package (PEP 503)."""
    return re.sub("[-_.]+", "-", name).lower()


def bill() -> dict[str, Any]:
    """The complete bill. If a package is locked in several versions, one for each Python, the installed one
    describes all of them."""
    bill, environment = told_by("requirements", LOCK), told_by("environment", sys.executable)
    installed = {normal(each["name"]): each for each in environment["components"]}
    locked: dict[str, list[str]] = {ROOT: [ROOT]}
    for each in bill["components"]:
        known = installed[normal(each["name"])]
        locked.setdefault(known["bom-ref"], []).append(each["bom-ref"])
        each |= {key: known[key] for key in ("description", "licenses") if key in known}
    needs = {each["ref"]: each.get("dependsOn", ()) for each in environment["dependencies"]}
    bill["dependencies"] = [
        {"ref": ref, "dependsOn": sorted(need for other in needs[known] for need in locked.get(other, ()))}
        for known, refs in locked.items()
        for ref in refs
    ]
    return bill


if __name__ == "__main__":
    out = Path(sys.argv[1])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(bill(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(out)
