"""`hft`: what is done around recipes. Training itself is `accelerate launch recipes/<name>.py`."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from hf_transfer.clash import warn_of_clash
from hf_transfer.exits import command
from hf_transfer.flags.parser import Parser, positive
from hf_transfer.problems import Mistakes, Problem, Problems, nearest

# What needs torch, datasets or matplotlib is imported inside the commands, so that --help answers at once.

HELP = """usage: hft COMMAND ...

What is done around recipes:

  hft predict RUN_DIR INPUT ...   predictions for a file, a folder of images, or texts in quotes
  hft report RUN_DIR              write report.html, plots and the model card again
  hft merge RUN_DIR OUT           an adapter and its base model as one plain model
  hft push RUN_DIR                to the Hub, or finish a push that failed
  hft check SCRIPT.py             classic mistakes in your own model, optimizer or Trainer
  hft recipes list|show|copy      the training scripts: copy one, change it, it is yours
  hft --version

`hft COMMAND --help` says more. Training is `accelerate launch recipes/sentiment.py`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command `hft`; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    return command(lambda: _run(words))


def _run(words: list[str]) -> None:
    warn_of_clash()
    if not words or words[0] in ("-h", "--help", "help"):
        print(HELP, end="")
    elif words[0] == "--version":
        from hf_transfer.hardware import own_version

        print(f"hf-transfer-learning {own_version()}")
    elif words[0] in COMMANDS:
        COMMANDS[words[0]](words[1:])
    else:
        what = f"there is no command {words[0]!r}{nearest(words[0], list(COMMANDS))}"
        raise Problems(Problem("hft", what, f"choose {', '.join(COMMANDS)}"))


def predict(words: Sequence[str]) -> None:
    """`hft predict`: a table on the screen, or a file with the input's columns and the predictions."""
    description = (
        "Predictions of a finished run for rows without labels (labels there are left alone).\n\n"
        'hft predict outputs/sentiment "An honest, moving film." "Two hours I want back."\n'
        "hft predict outputs/sentiment reviews.csv --output predictions.csv\n"
        "hft predict outputs/flowers photos/ --output flowers.jsonl"
    )
    parser = Parser("predict", description)
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run folder")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="*",
        help="csv, tsv, jsonl, json, parquet or txt file; folder of images, image files; or texts in quotes "
        "(two words a row where the model was trained on pairs)",
    )
    for role in ("text", "text_pair", "image"):
        usual = "by default the one trained on, or the one that is clear"
        parser.add_argument(f"--{role}_column", metavar="NAME", help=f"column of the {role}; {usual}")
    parser.add_argument("--output", metavar="FILE", help="write .csv, .jsonl or .parquet instead of a table")
    parser.add_argument("--batch_size", metavar="N", type=positive, default=32, help="rows at a time (32)")
    arguments = parser.read(words)
    _predict(arguments)


def _predict(arguments: argparse.Namespace) -> None:
    from hf_transfer.inputs import empty_rows, from_words, read_inputs
    from hf_transfer.prediction_files import check_output, write_predictions
    from hf_transfer.run import Run

    run = Run.open(arguments.run_dir)
    output = Path(arguments.output).expanduser() if arguments.output else None
    if output:
        check_output(output, arguments.inputs)
    columns = {
        f"{role}_column": getattr(arguments, f"{role}_column") for role in ("text", "text_pair", "image")
    }
    inputs = read_inputs(run.record, from_words(arguments.inputs, run.record), **columns)
    if empty := empty_rows(inputs):
        first = ", ".join(map(str, empty[:5])) + (", ..." if len(empty) > 5 else "")
        where = f"no text in {len(empty)} of {len(inputs.rows)} rows ({first})"
        _say(f"warning: {where}: what is predicted there means nothing")
    _quiet()
    from hf_transfer.predict import predict_rows

    predictions = predict_rows(
        run, inputs.rows, arguments.batch_size, progress=True, say=lambda text: _say(f"warning: {text}")
    )
    if output:
        names = write_predictions(output, inputs, predictions, run.record["labels"])
        shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
        print(f"{output}: {len(predictions):,} rows, predictions in {shown}")
    else:
        from hf_transfer.prediction_table import print_predictions

        print_predictions(inputs, predictions)


def report(words: Sequence[str]) -> None:
    """`hft report`."""
    parser = Parser(
        "report", "Write report.html, plots/ and the model card README.md again, from the run's files."
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run folder")
    folder = parser.read(words).run_dir

    from hf_transfer.run import Run

    Run.open(folder)
    from hf_transfer.report import write_card, write_report

    page = write_report(folder)
    card = write_card(folder)
    plots = sorted((Path(folder) / "plots").glob("*.png"))
    print(f"{page}\n{card}\n{Path(folder) / 'plots'}: {', '.join(path.name for path in plots) or 'none'}")


def merge(words: Sequence[str]) -> None:
    """`hft merge`."""
    parser = Parser(
        "merge",
        "Merge an adapter into its base model: plain weights, label names and the processor in one folder.\n"
        "(The folder of a run with --peft lora is merged already; its adapter/ is what this starts from.)",
    )
    parser.add_argument(
        "source", metavar="RUN_DIR_OR_ADAPTER", help="a run folder with adapter/, or an adapter folder"
    )
    parser.add_argument("out", metavar="OUT", help="a new or empty folder")
    parser.add_argument(
        "--base", metavar="MODEL", help="folder or Hub id of the base model, where it has moved"
    )
    arguments = parser.read(words)

    from hf_transfer.merging import check_free, find_adapter
    from hf_transfer.merging import merge as merge_adapter

    find_adapter(Path(arguments.source))  # what can be said before torch is loaded
    check_free(Path(arguments.out))
    _quiet()
    merged = merge_adapter(arguments.source, arguments.out, arguments.base)
    for note in merged.notes:
        _say(f"note: {note}")
    print(
        f"{arguments.out}: the adapter of {arguments.source} and its base model {merged.base} as one plain model"
    )


def push(words: Sequence[str]) -> None:
    """`hft push`."""
    parser = Parser(
        "push",
        "Push a finished run to the Hub in one commit, or finish a push that failed: what is there already is not\n"
        "sent again. Flags that are left out are as in the run's last push.\n\n"
        "hft push outputs/sentiment --hub_model_id me/sentiment --hub_private_repo",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the run folder")
    parser.add_argument("--hub_model_id", metavar="ID", help="me/name or name; the folder's name by default")
    for name, help in (
        ("hub_private_repo", "make a new repository private"),
        ("hub_adapter_only", "the adapter alone, not the merged model"),
        ("hub_include_report", "report.html too (it may quote your data)"),
    ):
        parser.add_argument(f"--{name}", action="store_true", default=None, help=help)
    arguments = parser.read(words)

    from hf_transfer.run import Run

    address = Run.open(arguments.run_dir).push_to_hub(
        arguments.hub_model_id,
        private=arguments.hub_private_repo,
        adapter_only=arguments.hub_adapter_only,
        include_report=arguments.hub_include_report,
    )
    print(address)


def check(words: Sequence[str]) -> None:
    """`hft check`."""
    parser = Parser(
        "check",
        "Look for classic mistakes in your own training script: what never learns, what is frozen and moves, rates\n"
        "that are not what they seem. The script is imported and ends where a Trainer would train. Exit code 1 when\n"
        "something was found. docs/check.md has the list.\n\n"
        "hft check train.py            every Trainer, model and optimizer among its globals\n"
        "hft check train.py:trainer    this one\n"
        "hft check train.py:build      what this function returns, or the Trainer that it would train",
    )
    parser.add_argument("script", metavar="SCRIPT.py[:NAME]", help="the script; a global or function of it")
    script = parser.read(words).script

    from hf_transfer.checking.scripts import check_script

    _quiet()
    found = check_script(script)
    for name, problems in found:
        print(f"{name}: {len(problems) or 'nothing'} found")
        for problem in problems:
            print(f"- {problem}".replace("\n", "\n  "))
    if count := sum(len(problems) for _, problems in found):
        raise Mistakes(f"{count} mistake{'s' * (count > 1)} found in {script}")


def recipes(words: Sequence[str]) -> None:
    """`hft recipes`."""
    parser = Parser(
        "recipes", "The training scripts that come with the package: copy one, change it, it is yours."
    )
    parser.add_argument("what", metavar="list|show|copy", choices=("list", "show", "copy"), help="what to do")
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help="the recipe, for show and copy; copy accelerate_configs takes those",
    )
    parser.add_argument(
        "dest", metavar="DEST", nargs="?", default=".", help="file or folder to copy to (here)"
    )
    parser.add_argument("--force", action="store_true", help="replace a file that is there")
    arguments = parser.read(words)

    from hf_transfer import shipped

    if arguments.what == "list":
        known = shipped.recipes()
        width = max(map(len, known), default=0)
        for name, path in known.items():
            print(f"{name:<{width}}  {' '.join(shipped.summary(path).split())}")
        return
    if not arguments.name:
        mend = f"hft recipes {arguments.what} {next(iter(shipped.recipes()), 'NAME')}"
        raise Problems(Problem("hft recipes", f"{arguments.what} needs the name of a recipe", mend))
    if arguments.what == "show":
        print(shipped.recipe(arguments.name).read_text(encoding="utf-8"), end="")
        return
    if arguments.name.replace("-", "_") == shipped.CONFIGS:
        print(shipped.copy_configs(arguments.dest, arguments.force))
        return
    path = shipped.copy_recipe(arguments.name, arguments.dest, arguments.force)
    configs = shipped.shipped(shipped.CONFIGS)
    ways = sorted(file.stem for file in configs.glob("*.yaml"))
    print(f"{path}: yours to change; python {path} --help shows its flags")
    print(f"run it: accelerate launch {path}")
    print(f"or:     accelerate launch --config_file {configs / 'NAME.yaml'} {path}")
    print(f"        NAME is one of {', '.join(ways)}")


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "predict": predict,
    "report": report,
    "merge": merge,
    "push": push,
    "check": check,
    "recipes": recipes,
}


def _quiet() -> None:
    """Loading a model says nothing but errors."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    warnings.simplefilter("ignore", FutureWarning)  # between transformers and peft, nothing for the user
    from transformers.utils import logging

    logging.disable_progress_bar()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
