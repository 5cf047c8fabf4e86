"""The model card from synthetic run folders: valid front matter, true figures, nothing that must stay private."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import prepared_process
import pytest
import yaml
from example_runs import SECRET, write_run
from huggingface_hub import ModelCard

from hf_transfer.licenses import front_matter
from hf_transfer.problems import Problems
from hf_transfer.report import write_card, write_report
from hf_transfer.report.names import hub_id
from hf_transfer.report.snippet import PLACEHOLDER


def card(folder: Path, repo_id: str | None = None) -> tuple[dict[str, Any], str]:
    """Front matter and text, read back from the file."""
    content = write_card(folder, repo_id).read_text(encoding="utf-8")
    parsed = ModelCard(content)
    assert yaml.safe_load(parsed.data.to_yaml()) == yaml.safe_load(content.split("---\n")[1])
    return yaml.safe_load(content.split("---\n")[1]), parsed.text


def code(text: str) -> str:
    (found,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    ast.parse(found)
    return str(found)


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize("test", [True, False])
def test_front_matter_and_figures(tmp_path: Path, kind: str, test: bool) -> None:
    folder = write_run(tmp_path / "run", kind, labels=("a", "b", "c"), test=test)
    data, text = card(folder)
    assert data["library_name"] == "transformers" and data["pipeline_tag"] == "text-classification"
    assert data["base_model"] == "sentence-transformers/all-MiniLM-L6-v2" and data["license"] == "apache-2.0"
    assert "hf_transfer" in data["tags"] and "datasets" not in data  # a file is no Hub data set
    (result,) = data["model-index"][0]["results"]
    assert result["dataset"] == {
        "name": "reviews.csv",
        "type": "reviews.csv",
        "split": "test" if test else "validation",
    }
    results = json.loads((folder / "all_results.json").read_text())
    prefix = "test" if test else "eval"
    for metric in result["metrics"]:
        assert metric["value"] == pytest.approx(results[f"{prefix}_{metric['type']}"])
        assert metric["args"]["ci95_low"] == pytest.approx(results[f"{prefix}_{metric['type']}_ci95_low"])
        assert metric["args"]["baseline"] == pytest.approx(results[f"{prefix}_baseline_{metric['type']}"])
    assert "0.900** (95 % interval 0.830 to 0.960); baseline" in text
    assert ("chosen and reported on validation" in text) is not test
    assert "Licence of the data: unknown" in text


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
def test_nothing_private_is_published(tmp_path: Path, kind: str) -> None:
    folder = write_run(tmp_path / "run", kind)
    write_report(folder)
    content = write_card(folder).read_text(encoding="utf-8")
    for private in (
        SECRET,
        "marmalade",
        "/home",
        "someone",
        "private data",
        str(tmp_path),
        "Sentence number",
    ):
        assert private not in content
    assert "3 rows are duplicates, the first is “…”" in content and "column 'text'" in content


def test_a_local_base_model_or_data_set_is_no_hub_id(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    run = json.loads((folder / "run.json").read_text())
    run["base_model"] |= {
        "id": "/home/someone/models/mine",
        "name": "/home/someone/models/mine",
        "license": None,
    }
    run["data"] |= {"hub_id": "org/reviews", "license": "cc-by-4.0"}
    (folder / "run.json").write_text(json.dumps(run))
    data, text = card(folder)
    assert "base_model" not in data and data["license"] == "unknown" and data["datasets"] == ["org/reviews"]
    assert "mine, adapted with" in text and "someone" not in text and "the licence of the base model" in text
    assert [hub_id(name) for name in ("a/b", "gpt2", "./a", "~/a", "/a/b", "a/b/c", None)] == [
        "a/b",
        "gpt2",
    ] + [None] * 5


def test_snippets(tmp_path: Path) -> None:
    _, text = card(write_run(tmp_path / "single"))
    assert PLACEHOLDER in code(text) and "truncation=True" in code(text)
    _, text = card(write_run(tmp_path / "multi", "multi", labels=("it's `a`", 'b"\\', "c")), "me/good-model")
    assert 'model="me/good-model"' in code(text) and "top_k=None" in code(text) and "# good-model" in text
    thresholds = re.search(r"thresholds = (\{.*\})", code(text))
    assert thresholds and ast.literal_eval(thresholds[1]) == {"it's `a`": 0.4, 'b"\\': 0.4, "c": 0.4}
    _, text = card(write_run(tmp_path / "regression", "regression"))
    assert 'function_to_apply="none"' in code(text)
    _, text = card(write_run(tmp_path / "image", texts=False, task="image-classification"))
    assert '"picture.jpg"' in code(text) and "truncation" not in code(text)


def test_labels_are_escaped_and_long_lists_cut(tmp_path: Path) -> None:
    _, text = card(
        write_run(tmp_path / "run", labels=("<script>x</script>", "a|b", "*c*", "[d](e)", "f\n# g"))
    )
    assert (
        "<script>" not in text
        and r"a\|b" in text
        and r"\*c\*" in text
        and r"\[d\](e)" in text
        and "\n# g" not in text
    )
    _, text = card(write_run(tmp_path / "many", labels=tuple(f"l{i}" for i in range(150)), rows=200))
    assert "and 90 more" in text


@pytest.mark.parametrize(
    "missing", ["predictions.parquet", "history.jsonl", "phases.json", "all_results.json"]
)
def test_missing_files_do_not_stop_the_card(tmp_path: Path, missing: str) -> None:
    folder = write_run(tmp_path / "run")
    (folder / missing).unlink()
    data, text = card(folder)
    assert ("model-index" in data) is (missing != "all_results.json")
    assert ("Not evaluated" in text) is (missing == "all_results.json")


def test_run_json_alone_makes_a_card_and_figures_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert card(tmp_path)[0]["license"] == "unknown"
    folder = write_run(tmp_path / "run")
    (folder / "all_results.json").write_text('{"test_accuracy": 0.8, "test_roc_auc": NaN}')
    data, _ = card(folder)
    assert [metric["type"] for metric in data["model-index"][0]["results"][0]["metrics"]] == ["accuracy"]
    with pytest.raises(Problems, match="no run.json"):
        write_card(tmp_path / "nowhere")


def test_plots_are_shown_when_they_are_there(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    assert "plots/" not in card(folder)[1]
    write_report(folder)
    shown = re.findall(r"\]\((plots/\w+\.png)\)", card(folder)[1])
    assert len(shown) == 3 and all((folder / path).is_file() for path in shown)


def test_licences() -> None:
    assert (
        front_matter("Apache-2.0", None)
        == front_matter("apache-2.0", "cc-by-4.0")
        == {"license": "apache-2.0"}
    )
    assert front_matter(None, "mit") == {"license": "unknown"}
    assert front_matter("apache-2.0", "cc-by-nc-4.0") == {
        "license": "other",
        "license_name": "see-model-card",
    }
    assert front_matter("cc-by-nc-4.0", "cc-by-nc-4.0") == {"license": "cc-by-nc-4.0"}
    assert front_matter("My own!", None) == {"license": "other", "license_name": "my-own"}


def test_snippets_run_in_a_fresh_process(tmp_path: Path) -> None:
    """Tiny random models of the three problem types, asked as the card says, from the folder alone."""
    lines = []
    for kind, labels in (("single", ("no", "yes")), ("multi", ("it's `a`", "b", "c")), ("regression", ())):
        folder = write_run(tmp_path / kind, kind, labels=labels)
        _tiny_model(folder, kind, labels)
        lines.append(code(card(folder)[1]).replace(PLACEHOLDER, str(folder)))
    script = tmp_path / "ask.py"
    script.write_text("\n".join(lines))
    done = prepared_process.run(script)
    assert done.returncode == 0, done.stderr
    single, multi, regression = map(
        ast.literal_eval, (re.sub(r" *#.*", "", x) for x in done.stdout.splitlines())
    )
    assert single[0]["label"] in ("no", "yes") and multi == ["it's `a`"]
    assert regression[0]["score"] == pytest.approx(7.0, abs=1e-4)  # a probability could not be


def _tiny_model(folder: Path, kind: str, labels: tuple[str, ...]) -> None:
    """A BERT of one block whose answer is its head's bias: 9 for the first label, -9 for the others; or 7."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    words = {word: place for place, word in enumerate(("[PAD]", "[UNK]", "text", "own"))}
    words_of = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    words_of.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words_of, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    )
    types = {"single": "single_label_classification", "multi": "multi_label_classification"}
    config = BertConfig(
        vocab_size=4, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
        max_position_embeddings=16, problem_type=types.get(kind, "regression"),  # type: ignore[arg-type]
        id2label=dict(enumerate(labels or ("LABEL_0",))), label2id={x: i for i, x in enumerate(labels or ("LABEL_0",))},
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(
            torch.tensor([9.0] + [-9.0] * (len(labels) - 1)) if labels else torch.tensor([7.0])
        )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
