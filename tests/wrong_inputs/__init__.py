"""Every wrong or odd input that was tried on the recipes, as data; `PAGE` shows what comes of it."""

from pathlib import Path

from .arguments import ARGUMENTS
from .case import Case
from .checkpoints import CHECKPOINTS
from .columns import COLUMNS
from .folders import FOLDERS
from .formats import FORMATS
from .images import IMAGES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "bad_input.md"
CHAPTERS: dict[str, tuple[Case, ...]] = {
    "Files and formats": FORMATS,
    "Columns, labels and texts": COLUMNS,
    "Images": IMAGES,
    "Checkpoints": CHECKPOINTS,
    "Flags and config files": ARGUMENTS,
    "Output folders": FOLDERS,
}
CASES = tuple(case for cases in CHAPTERS.values() for case in cases)
