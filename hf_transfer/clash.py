"""PyPI's `hf-transfer`, an old downloader, installs into our folder `hf_transfer/`: say so when it happened."""

from __future__ import annotations

import os
import sys
from importlib import metadata
from types import ModuleType

from hf_transfer.problems import Problem, Problems

OTHER = "hf-transfer"
MEND = (
    "pip uninstall -y hf-transfer, and then, because that takes hf_transfer/__init__.py along: "
    "pip install --force-reinstall --no-deps hf-transfer-learning (or -e . in a checkout)"
)


def clash(package: ModuleType | None = None) -> Problem | None:
    """What is wrong when the other package is installed too; None if it is not.

    Args:
        package: the imported `hf_transfer`, which is looked up if not given.

    Raises:
        Problems: the other package's `__init__` is the one imported, so that ours cannot work.
    """
    try:
        version = metadata.distribution(OTHER).version
    except metadata.PackageNotFoundError:
        return None
    package = package or sys.modules["hf_transfer"]
    where = f"{OTHER} {version}"
    both = "PyPI's downloader of that name is installed beside hf-transfer-learning, and both own the folder hf_transfer/"
    if not hasattr(package, "_HOME"):  # ours has this table
        raise Problems(
            Problem(where, f"{both}: it was installed last and has overwritten {package.__file__}", MEND)
        )
    return Problem(
        where, f"{both}: ours is still in place, but its next update or removal overwrites it", MEND
    )


def warn_of_clash() -> None:
    """Print `clash()` on stderr, once for all processes of a launch."""
    found = clash()
    if found and os.environ.get("RANK", "0") == "0":
        print(f"warning: {found}", file=sys.stderr, flush=True)
