"""Output folders that are taken, are none, cannot be made, or hold no run to go on with."""

from __future__ import annotations

import json

from .case import Case, Content
from .contents import table

DATA = "--dataset_name a.csv"
REVIEWS: dict[str, Content] = {"a.csv": table()}
RUN = json.dumps({"files": []})
STARTED = json.dumps({"begun": {}, "before": []})
TRUE = "--resume_from_checkpoint true"


def out(name: str, flags: str, code: int = 2, **files: Content) -> Case:
    given = {path.replace("__", "/").replace("_", "."): content for path, content in files.items()}
    return Case(name, f"{DATA} {flags}", REVIEWS | given, code)


FOLDERS = (
    out("output_dir is a file", "--output_dir out", out="x"),
    out("output_dir below a file", "--output_dir out/run", out="x"),
    out("output_dir in /proc", "--output_dir /proc/x"),
    out("output_dir in /sys", "--output_dir /sys/x"),
    out("output_dir with a name too long", f"--output_dir {'x' * 300}"),
    out("output_dir with somebody's config.json", "--output_dir out", out__config_json="{}"),
    out("output_dir with a finished run", "--output_dir out", out__run_json=RUN),
    out("output_dir with a run that was begun", "--output_dir out", **{"out/run.started.json": STARTED}),
    out("output_dir with a run, and a wrong column", "--output_dir out --text_column txet", out__run_json=RUN),
    out("output_dir with a run, and a wrong flag", "--output_dir out --lerning_rate 1", out__run_json=RUN),
    out("output_dir with a broken record, overwritten", "--output_dir out --overwrite_output_dir true", 0,
        out__run_json="{"),
    out("output_dir four folders deep", "--output_dir x/y/z/w", 0),
    out("output_dir is the working folder", "--output_dir .", 0),
    out("nothing to resume", TRUE),
    out("nothing to resume in output_dir", f"{TRUE} --output_dir x"),
    out("resume from a folder that is not there", "--resume_from_checkpoint r/checkpoint-9"),
    out("resume from an empty checkpoint", "--resume_from_checkpoint r/checkpoint-9 --output_dir r",
        **{"r/checkpoint-9/": ""}),
    out("resume, and the only checkpoint is torn", f"{TRUE} --output_dir r", 0, **{"r/checkpoint-9/": ""}),
    out("resume and overwrite, no run there", f"{TRUE} --overwrite_output_dir true"),
    out("resume and overwrite, a run there", f"{TRUE} --overwrite_output_dir true --output_dir r", 0,
        **{"r/run.started.json": STARTED}),
)  # fmt: skip
