"""What a user gets wrong: named in a sentence, refused before anything is written."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transformers
from data_tasks import TEXT, refused, reviews, write_csv

from hf_transfer.arguments import Arguments, parse
from hf_transfer.data import load
from hf_transfer.exits import command
from hf_transfer.limits import check_arguments, check_metrics
from hf_transfer.run_folder import RUN, check_folder, claim
from hf_transfer.signals import StopOnSignal
from hf_transfer.tasks.text_classification import fit
from hf_transfer.training.checkpoints import load_pretrained
from hf_transfer.training_arguments import resumed


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("seed", "99999999999999999999"),
        ("num_train_epochs", "inf"),
        ("learning_rate", "inf"),
        ("lora_dropout", "2"),
        ("layer_decay", "5"),
    ],
)
def test_numbers_out_of_range(flag: str, value: str) -> None:
    said = refused(parse, Arguments, ["--peft", "lora", f"--{flag}", value])
    assert f"--{flag}: found" in said


def test_a_config_file_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").mkdir()
    assert "is a folder" in refused(parse, Arguments, [str(tmp_path / "run.yaml")])


def test_a_link_to_nowhere_is_no_near_name(tmp_path: Path) -> None:
    os.symlink("gone.csv", tmp_path / "a.csv")
    said = refused(load, TEXT, tmp_path / "a.csv")
    assert "a link to gone.csv" in said and "did you mean" not in said


def test_parquet_that_names_a_column_twice(tmp_path: Path) -> None:
    column = pa.array(["a", "b"])
    pq.write_table(pa.table([column, column], names=["label", "label"]), tmp_path / "a.parquet")
    assert "names a column twice: label" in refused(load, TEXT, tmp_path / "a.parquet")


def test_lists_of_lists_are_no_labels() -> None:
    rows = [{"text": text, "label": [[name]]} for text, name in reviews()]
    assert "expected labels" in refused(load, TEXT, rows)


def test_texts_of_zero_width_are_empty() -> None:
    rows = [{"text": " \u200b\u200d\u202e", "label": name} for _, name in reviews()]
    assert "every row has an empty input" in refused(load, TEXT, rows)


def test_labels_that_the_sample_loses_are_said(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "a.csv", [(f"text number {i}", f"c{i % 15}") for i in range(60)])
    told = load(TEXT, path, max_train_samples=10, dataset_config_name="x").audit["warnings"]
    assert any("the sample has no row with the label" in warning["what"] for warning in told)
    assert any("no data set of the Hub" in warning["what"] for warning in told)


def test_a_folder_name_that_is_too_long() -> None:
    assert "too long" in refused(check_folder, Path("x" * 300), resume=False, overwrite=False)


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_record_can_be_overwritten(tmp_path: Path, content: str) -> None:
    (tmp_path / RUN).write_text(content)
    assert claim(tmp_path, overwrite=True) == [] and not (tmp_path / RUN).exists()


def test_resume_from_half_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-9").mkdir()
    asked = SimpleNamespace(resume_from_checkpoint=str(tmp_path / "checkpoint-9"), do_train=True)
    assert "is no whole checkpoint" in refused(resumed, asked)


def test_a_model_of_another_kind(tmp_path: Path) -> None:
    transformers.ViTConfig().save_pretrained(tmp_path)
    said = refused(load_pretrained, "AutoModelForSequenceClassification", str(tmp_path))
    assert "(ViT)" in said and "another kind" in said and len(said) < 400


def test_a_checkpoint_without_a_tokenizer(tmp_path: Path) -> None:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    transformers.BertConfig(vocab_size=100, **sizes).save_pretrained(tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.BertModel(transformers.BertConfig(vocab_size=100, **sizes))
    assert "knows no words" in refused(fit, tokenizer, model)


def test_an_unknown_tracker(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        args = transformers.TrainingArguments(str(tmp_path), report_to="wandbb", use_cpu=True)
        transformers.Trainer(transformers.BertModel(transformers.BertConfig(num_hidden_layers=0)), args)

    assert command(main) == 2
    said = capsys.readouterr().err
    assert "--report_to: wandbb is not supported" in said and "Traceback" not in said


def test_what_a_signal_saved_survives_the_limit_of_one() -> None:
    stop, args, control = StopOnSignal(), SimpleNamespace(world_size=1), transformers.TrainerControl()
    args.save_total_limit, args.load_best_model_at_end = 1, True
    stop.on_save(args, None, control)
    assert args.save_total_limit == 1
    stop(15, None)
    stop.on_step_end(args, None, control)
    stop.on_save(args, None, control)
    assert control.should_save and args.save_total_limit is None and not args.load_best_model_at_end


@pytest.mark.parametrize("length", [{"max_steps": 0}, {"num_train_epochs": 0}])
def test_no_training_is_not_called_a_run(tmp_path: Path, length: dict[str, int]) -> None:
    args = transformers.TrainingArguments(str(tmp_path), do_train=True, use_cpu=True, **length)
    assert "0 would train nothing" in refused(check_arguments, args, "single_label_classification")


def test_a_metric_that_is_not_there_is_missed_at_once() -> None:
    assert "did you mean accuracy?" in refused(check_metrics, ["acuracy"], "single_label_classification", 2)
