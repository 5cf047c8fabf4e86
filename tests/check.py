"""All checks in the order of their cost: `python tests/check.py`. Further arguments go to pytest."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKS = {
    "ruff": ["-m", "ruff", "check", "."],
    "ruff format": ["-m", "ruff", "format", "--check", "."],
    "mypy": ["-m", "mypy"],
    # Two workers, one thread each: the tests are many small models.
    "pytest": ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--durations=10"],
}


def main() -> int:
    for name, command in CHECKS.items():
        started = time.monotonic()
        more = sys.argv[1:] if name == "pytest" else []
        code = subprocess.run([sys.executable, *command, *more], cwd=ROOT).returncode
        print(
            f"{name}: {'passed' if code == 0 else 'FAILED'} in {time.monotonic() - started:.0f} s", flush=True
        )
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
