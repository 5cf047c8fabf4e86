"""Shift through `finetune` and the flags: refused beforehand, said in plan and report, and a plain model in the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import image_runs
import pytest
import tiny
from data_tasks import refused
from safetensors import safe_open
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_transfer import Arguments, Problems, Regularization, command, finetune, parse
from hf_transfer.shift.settling import warnings_after
from hf_transfer.strategies.shift import Shift

ARGS: dict[str, Any] = {"max_steps": 4, "report_to": "none", "disable_tqdm": True, "logging_steps": 2}
ARGS |= {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "no", "load_best_model_at_end": False}
ARGS |= {"per_device_train_batch_size": 8, "do_eval": False, "learning_rate": 1e-3}
FAST: dict[str, Any] = {"cpu_threads": 1, "skip_reload_check": True, "probe": False}
TEXTS = [row["text"].replace("found", "and") for row in tiny.rows(30)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.tiny_bert(tmp_path_factory.mktemp("base"))


def run(base: Path, folder: Path, kind: str = "single", **more: Any) -> Any:
    args = ARGS | {"output_dir": str(folder / "run")} | more.pop("args", {})
    rows = more.pop("rows", tiny.rows(40, kind))
    return finetune("text-classification", base, rows, **(FAST | {"args": args} | more))


# Refused, with nothing left behind.

DANN = {"align": "dann", "target_file": TEXTS}
PSEUDO = {"pseudo_labels": True, "target_file": TEXTS}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"align": "dann"}, "--align: needs rows of the target domain"),
    ({"pseudo_labels": 0.9}, "--pseudo_labels: needs rows of the target domain"),
    ({"target_file": TEXTS}, "--target_file: has no effect without --align or --pseudo_labels"),
    (DANN | {"align": "mmd"}, "--align: found 'mmd', expected dann or coral"),
    (DANN | {"align_weight": 0.0}, "--align_weight: found 0, expected more than 0"),
    (PSEUDO | {"align_weight": 1.0}, "--align_weight: has no effect without --align"),
    (PSEUDO | {"pseudo_labels": 1.5}, "--pseudo_labels: found 1.5, expected a probability"),
    (PSEUDO | {"kind": "regression"}, "--pseudo_labels: is for labels, and this is regression"),
    (PSEUDO | {"kind": "multi"}, "--pseudo_labels: is for one label a row"),
    (DANN | {"args": {"do_train": False}}, "--align: has no effect with --do_train false"),
    (DANN | {"objective": lambda model, batch: None}, "--align: needs the model's own loss"),
    (DANN | {"strategy": "ridge"}, "--align: makes features of both domains alike, and nothing below the head"),
    (DANN | {"strategy": [{"learns": "head"}]}, "--align: makes features of both domains alike, and nothing"),
    (DANN | {"strategy": "contrastive"}, "--align: acts on the loss of single rows, and phase pairs"),
    (PSEUDO | {"strategy": "prototypes"}, "--pseudo_labels: adds rows to train on, and under --strategy proto"),
    (DANN | {"align": "coral", "args": {"per_device_train_batch_size": 1}}, "one row has none"),
    (DANN | {"args": {"torch_compile": True}}, "--torch_compile does not let through"),
    (DANN | {"target_file": "gone.csv"}, "gone.csv"),
    (DANN | {"target_file": ["", " "]}, "--target_file: Python objects has 0 rows with an input"),
    (DANN | {"target_file": {"train": TEXTS, "test": TEXTS}}, "--target_file: .* has several splits: train, test"),
    (DANN | {"target_file": [{"a": "x", "b": "y"}] * 3}, "could be the text: a, b"),
]  # fmt: skip


@pytest.mark.parametrize(("more", "said"), REFUSED, ids=[said[:60] for _, said in REFUSED])
def test_what_makes_no_sense_is_refused(more: dict[str, Any], said: str, base: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems, match=said):
        run(base, tmp_path, **more)
    assert not (tmp_path / "run").exists() or not any((tmp_path / "run").iterdir())


def test_images_that_are_mixed_are_not_aligned(tmp_path: Path) -> None:
    for i in range(16):
        image_runs.noise(i).save(tmp_path / f"{i}.png")
    rows = [{"image": str(tmp_path / f"{i}.png"), "label": "xy"[i % 2]} for i in range(16)]
    more = {"align": "dann", "target_file": rows, "regularization": Regularization(mixup=0.2)}
    assert "--align: does not go with --mixup" in refused(image_runs.run, "resnet", rows, tmp_path, **more)


def test_the_command_ends_with_2(
    base: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def main() -> Any:
        arguments = parse(Arguments)
        args = ARGS | {"output_dir": str(tmp_path / "run")}
        return finetune("text-classification", base, tiny.rows(40), args=args, **arguments.transfer())

    for value, said in (
        ("coral", "--align: needs rows of the target"),
        ("dan", "expected one of dann, coral"),
    ):
        monkeypatch.setattr("sys.argv", ["recipe.py", "--align", value])
        assert command(main) == 2
        assert said in capsys.readouterr().err


def test_flags_are_the_keywords() -> None:
    names = ("target_file", "align", "align_weight", "pseudo_labels")
    given = parse(Arguments, ["--target_file", "b.csv", "--align", "dann", "--pseudo_labels"]).transfer()
    assert [given[name] for name in names] == ["b.csv", "dann", None, True]
    assert parse(Arguments, ["--pseudo_labels", "0.9"]).transfer()["pseudo_labels"] == 0.9
    assert (Shift(pseudo_labels=True).threshold, Shift(pseudo_labels=False).threshold) == (
        0.95,
        None,
    )


# Whole runs.


def test_the_saved_model_is_a_plain_one(base: Path, tmp_path: Path) -> None:
    """Labels in the target rows are not read, rows that are shared with a split are said."""
    rows = tiny.rows(40)
    target = [{"text": text, "label": "no such label"} for text in TEXTS] + [
        rows[0],
        {"text": "", "label": ""},
    ]
    found = run(base, tmp_path, rows=rows, target_file=target, align="dann")
    _, info = AutoModelForSequenceClassification.from_pretrained(found.output_dir, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    with safe_open(str(Path(found.output_dir) / "model.safetensors"), "pt") as file:
        assert not [name for name in list(file.keys()) if name.startswith("0.") or "domain" in name]
    notes = " ".join(found.record["plan_notes"])
    assert "DANN, weight 0.3: a domain classifier learns to tell 31 target rows" in notes
    assert "'label': target rows are used without their labels" in notes
    assert "1 of 32 target rows have an empty input" in notes and "1 of the target rows are" in notes
    (entry,) = json.loads((Path(found.output_dir) / "phases.json").read_text())
    assert entry["align"]["method"] == "dann" and 0 <= entry["align"]["domain_accuracy"]["last"] <= 1
    assert "31 target rows by DANN" in (Path(found.output_dir) / "report.html").read_text()
    assert "31 unlabelled target rows by DANN" in (Path(found.output_dir) / "README.md").read_text()


@pytest.mark.parametrize(
    ("last", "said"),
    [(0.9, "still tell the domains apart"), (0.5, ""), (0.12, "pushed past being alike")],
)
def test_the_end_tells_how_alike_features_became(last: float, said: str) -> None:
    facts = {"method": "dann", "weight": 1.0, "domain_accuracy": {"first": 0.6, "last": last}}
    told = [warning["what"] for warning in warnings_after([{"align": facts}])]
    assert len(told) == bool(said) and all(said in what for what in told)


def test_a_run_that_goes_on_with_other_target_rows_is_refused(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path, **DANN)
    again = {"resume_from_checkpoint": True}
    run(base, tmp_path, **DANN, args=again)
    with pytest.raises(Problems, match=r"--target_file: .* was begun with"):
        run(base, tmp_path, **(DANN | {"target_file": TEXTS[1:]}), args=again)
    with pytest.raises(Problems, match=r"--align: .* was begun with dann, and this is coral"):
        run(base, tmp_path, **(DANN | {"align": "coral"}), args=again)


@pytest.mark.parametrize("name", ["resnet", "vit"])
def test_images(name: str, tmp_path: Path) -> None:
    """Target images from a folder without classes; pseudo-labels for some of them."""
    for i in range(16):
        for place, tint in ((tmp_path / "rows" / "xy"[i % 2], 2 * (i % 2)), (tmp_path / "target", 1)):
            place.mkdir(parents=True, exist_ok=True)
            image_runs.noise(i, tint=tint).save(place / f"{i}.png")
    found = image_runs.run(
        name, tmp_path / "rows", tmp_path, align="coral", pseudo_labels=0.34, target_file=tmp_path / "target"
    )
    AutoModelForImageClassification.from_pretrained(found.output_dir)
    ledger = json.loads((Path(found.output_dir) / "phases.json").read_text())
    assert [entry["name"] for entry in ledger] == ["full", "pseudo-labels"]
    assert ledger[1]["pseudo_labels"]["rows"] == 16 and ledger[1]["samples"] > ledger[0]["samples"]
    assert all(entry["align"]["target_rows"] == 16 for entry in ledger)
