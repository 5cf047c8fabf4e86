"""The one way from a checkpoint to a model: recipe and Python, names and objects give the same."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import tiny
from finetune_runs import ARGS, FAST, same

import hf_transfer
from hf_transfer import Run, default_arguments, finetune
from hf_transfer.data import load

PROBED = FAST | {"probe": True}  # as the recipe's run, beside which these are held


def test_the_recipe_and_python_give_the_same(by_recipe: Run, base: Path, table: Path, tmp_path: Path) -> None:
    run = finetune(
        "text-classification", base, table, args=ARGS | {"output_dir": str(tmp_path / "run")}, **PROBED
    )
    assert same(run, by_recipe)
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == sorted(
        p.name for p in Path(by_recipe.output_dir).iterdir()
    )


def test_objects_give_the_same_as_names(by_recipe: Run, base: Path, tmp_path: Path) -> None:
    from datasets import Dataset
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainingArguments, set_seed

    args = TrainingArguments(
        **(default_arguments() | ARGS | {"output_dir": str(tmp_path / "run")}),
        do_train=True,
        do_eval=True,
        do_predict=True,
    )
    data = load(hf_transfer.TEXT_CLASSIFICATION, Dataset.from_list(tiny.rows(80)))
    set_seed(args.seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        base, id2label=data.id2label, label2id=data.label2id, dtype="float32"
    )
    tokenizer = AutoTokenizer.from_pretrained(base)
    run = finetune(hf_transfer.TEXT_CLASSIFICATION, model, data, processor=tokenizer, args=args, **PROBED)
    assert same(run, by_recipe)
    assert run.predict("We found the film lovely.")[0]["label"] in data.labels


@pytest.mark.parametrize(
    "given",
    [
        lambda rows: ([row["text"] for row in rows], [row["label"] for row in rows]),
        pd.DataFrame,
        lambda rows: rows,
    ],
    ids=["texts and labels", "DataFrame", "list of dicts"],
)
def test_python_objects_as_data(given: Callable[[Any], Any], base: Path, tmp_path: Path) -> None:
    args = ARGS | {
        "output_dir": str(tmp_path / "run"),
        "max_steps": 1,
        "eval_strategy": "no",
        "save_strategy": "no",
    }
    run = finetune(
        "text-classification",
        base,
        given(tiny.rows(40)),
        args=args | {"load_best_model_at_end": False},
        **FAST,
    )
    assert run.record["labels"] == ["negative", "positive"]
    assert run.record["data"]["splits"] == {"train": 32, "validation": 4, "test": 4}


def test_another_seed_gives_another_model(by_recipe: Run, base: Path, table: Path, tmp_path: Path) -> None:
    run = finetune(
        "text-classification",
        base,
        table,
        args=ARGS | {"output_dir": str(tmp_path / "run")},
        seed=7,
        **PROBED,
    )
    assert not same(run, by_recipe) and run.record["seed"] == 7


def test_default_arguments_are_what_the_recipe_sets(
    recipe: ModuleType, base: Path, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read where the recipe hands them over, for each way to learn and for small and large data."""
    from hf_transfer.hardware import on_cpu

    monkeypatch.chdir(tmp_path)
    large = tmp_path / "large.csv"
    pd.DataFrame(
        [{"text": f"{row['text']} {i}", "label": row["label"]} for i in range(4) for row in tiny.rows(700)]
    ).to_csv(large, index=False)
    for flags, ours in (
        ([], default_arguments("full", False, 64)),
        (["--peft", "lora"], default_arguments("full", True, 64)),
        (["--strategy", "feature_extraction"], default_arguments("feature-extraction", False, 64)),
        (["--strategy", "partial:1"], default_arguments("partial:1", False, 64)),
        (["--dataset_name", str(large)], default_arguments("full", False, 2240)),
    ):
        data = [] if "--dataset_name" in flags else ["--dataset_name", str(table)]
        got = dict[str, Any]()
        with monkeypatch.context() as patch:
            patch.setattr(recipe, "finetune", lambda *a, got=got, **k: got.update(k))
            recipe.main(["--model_name_or_path", str(base), *data, *flags])
        set_by_recipe = {name: getattr(got["args"], name) for name in ours if name not in on_cpu()}
        wanted = {name: value for name, value in ours.items() if name not in on_cpu()}
        assert {n: getattr(v, "value", v) for n, v in set_by_recipe.items()} == wanted, flags
        assert got["args"].use_cpu == ours.get("use_cpu", False)


def test_python_takes_the_size_of_the_data_into_account(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that finetune has to load itself get as many epochs as the recipe gives them."""
    import hf_transfer.training.train

    seen = []

    def stop(setup: Any, *rest: Any) -> None:
        seen.append(setup.args.num_train_epochs)
        raise KeyboardInterrupt

    monkeypatch.setattr(hf_transfer.training.train, "train", stop)
    rows = [{"text": f"{row['text']} {i}", "label": row["label"]} for i in range(4) for row in tiny.rows(700)]
    for given in (rows, rows[:800]):
        with pytest.raises(KeyboardInterrupt):
            finetune(
                "text-classification",
                base,
                given,
                args={"output_dir": str(tmp_path / f"{len(given)}")},
                **FAST,
            )
    assert seen == [default_arguments(rows=n)["num_train_epochs"] for n in (2240, 640)]
    assert seen[0] < seen[1]


def test_a_model_without_a_table_of_tokens(tmp_path: Path) -> None:
    """CANINE hashes characters, so there is no number of ids to hold the tokenizer to."""
    from transformers import CanineConfig, CanineForSequenceClassification, CanineTokenizer

    small = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    more = {"num_hash_buckets": 64, "local_transformer_stride": 32, "max_position_embeddings": 256}
    CanineForSequenceClassification(CanineConfig(**small, **more)).save_pretrained(tmp_path / "canine")
    CanineTokenizer(model_max_length=256).save_pretrained(tmp_path / "canine")
    args = ARGS | {"output_dir": str(tmp_path / "run"), "num_train_epochs": 1}
    run = finetune("text-classification", tmp_path / "canine", tiny.rows(40), args=args, **FAST)
    assert run.metrics["train_loss"] > 0
