"""All checks in the order of their cost: `python tests/check.py`. Further arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
QUICK = {"ruff": ["-m", "ruff", "check", "."], "ruff format": ["-m", "ruff", "format", "--check", "."]}
# Side by side: mypy has one thread, and the tests are many small models on two workers of one thread each.
LONG = {
    "mypy": ["-m", "mypy"],
    "pytest": ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--durations=10"],
}


def main() -> int:
    for checks in (QUICK, LONG):
        started = time.monotonic()
        running = {
            name: subprocess.Popen(
                [sys.executable, *command, *(sys.argv[1:] if name == "pytest" else [])], cwd=ROOT
            )
            for name, command in checks.items()
        }
        codes = {}
        for name, process in running.items():
            codes[name] = process.wait()
            took = time.monotonic() - started
            print(f"{name}: {'FAILED' if codes[name] else 'passed'} in {took:.0f} s", flush=True)
        if any(codes.values()):
            return next(code for code in codes.values() if code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
