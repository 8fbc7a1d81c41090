"""Check models and tests with sqlfluff: those whose SQL, as written or as compiled, has changed since they last passed.

usage: make lint [FORCE=1]        or        scripts/in_venv.sh granary.lint [--force]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess

from granary.dbt import PROJECT
from granary.project import ROOT, replacing, run_main, target_directory
from granary.text import counted

DBT = ROOT / "bin" / "dbt"
SETTINGS = [ROOT / ".sqlfluff", ROOT / ".sqlfluffignore", ROOT / "requirements.txt"]


def main() -> int:
    """Lint what has changed, or everything if asked to; return sqlfluff's exit code."""
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("granary.lint", argparse.SUPPRESS, __doc__, formatter_class=as_written)
    parser.add_argument("--force", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    selected = ("--select", "resource_type:model", "test_type:singular")
    if code := subprocess.run([DBT, "--quiet", "compile", "--no-populate-cache", *selected]).returncode:
        return code
    passed = target_directory() / "linted.json"
    known = json.loads(passed.read_text()) if passed.exists() and not options.force else {}
    found = fingerprints()
    changed = [name for name, fingerprint in found.items() if known.get(name) != fingerprint]
    print(f"sqlfluff: {counted(len(changed), 'file')} of {len(found)} to check", flush=True)
    if changed:
        command = [DBT, "--exec", "sqlfluff", "lint", "--processes", str(min(os.cpu_count() or 1, 4)), *changed]
        quiet = os.environ | {"RUST_LOG": "error"}  # its parser would tell how long it takes for long models
        code = subprocess.run(command, cwd=ROOT, env=quiet).returncode
    if code == 0:
        with replacing(passed) as file:
            file.write(json.dumps(found).encode())
    return code


def fingerprints() -> dict[str, str]:
    """Return what sqlfluff's findings in each file depend on, by the file's path from the root."""
    settings = b"".join(path.read_bytes() for path in SETTINGS)
    found = {}
    for path in sorted([*(PROJECT / "models").rglob("*.sql"), *(PROJECT / "tests").rglob("*.sql")]):
        name = path.relative_to(PROJECT)
        compiled = target_directory() / "compiled" / "granary" / name
        if "generic" not in name.parts:  # which are templates, as macros are
            parts = (settings, path.read_bytes(), compiled.read_bytes() if compiled.exists() else b"")
            found[str(path.relative_to(ROOT))] = hashlib.sha256(b"\0".join(parts)).hexdigest()
    return found


if __name__ == "__main__":
    run_main(main)
