"""`--forgetting_file`: the checkpoint's loss on masked words before and after, by its own head on the trained backbone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from finetune_runs import FAST

from hf_transfer import Problems, Run, finetune
from hf_transfer.general_text import language_loss

TEXT = "text-classification"
SHORT: dict[str, Any] = {
    "use_cpu": True, "report_to": "none", "disable_tqdm": True, "learning_rate": 1e-2, "num_train_epochs": 3,
    "per_device_train_batch_size": 8, "optim": "adamw_torch", "eval_strategy": "no", "load_best_model_at_end": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A masked-language model that has learnt that sentences begin with `we found the`, and a file of sentences."""
    from transformers import BertConfig, BertForMaskedLM

    folder = tmp_path_factory.mktemp("language")
    tokenizer = tiny.tiny_tokenizer()
    torch.manual_seed(0)
    model = BertForMaskedLM(
        BertConfig(vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
                   intermediate_size=64, max_position_embeddings=64)
    )  # fmt: skip
    lines = [row["text"] for row in tiny.rows(96)]
    given = tokenizer(lines, padding=True, return_tensors="pt")
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        chosen = (torch.rand(given["input_ids"].shape) < 0.15) & (given["input_ids"] > 4)
        inputs = given["input_ids"].masked_fill(chosen, tokenizer.mask_token_id)
        labels = given["input_ids"].masked_fill(~chosen, -100)
        model(**(given | {"input_ids": inputs}), labels=labels).loss.backward()
        optimizer.step(), optimizer.zero_grad()
    model.save_pretrained(folder / "model"), tokenizer.save_pretrained(folder / "model")
    (folder / "general.txt").write_text("\n\n".join(lines[:40]) + "\n")
    return folder / "model", folder / "general.txt"


def run_of(model: Path, folder: Path, file: Path | None, **options: Any) -> Run:
    args = SHORT | {"output_dir": str(folder)}
    given = FAST | {"probe": False, "watch_forgetting": True, "forgetting_file": file, "seed": 3} | options
    return finetune(TEXT, str(model), tiny.rows(80), args=args, **given)


@pytest.mark.parametrize("strategy", ["feature-extraction", "knn", "full"])
def test_what_stands_still_is_kept_to_the_last_digit(
    strategy: str, language: tuple[Path, Path], tmp_path: Path
) -> None:
    """A head drawn anew instead of the checkpoint's own would have a loss near ln 51 = 3.9 both times."""
    run = run_of(language[0], tmp_path / "run", language[1], strategy=strategy)
    found = run.record["forgetting"]["masked_lm"]
    assert found["rows"] == 40 and 40 <= found["tokens"] <= 120
    assert found["before"] < 2.5
    if strategy == "full":
        assert found["after"] > found["before"] + 0.1
    else:
        assert found["after"] == pytest.approx(found["before"], abs=1e-6)
    words = "head for masked words went from"
    assert all(words in (tmp_path / "run" / page).read_text() for page in ("README.md", "report.html"))


def test_lora_is_asked_merged(language: tuple[Path, Path], tmp_path: Path) -> None:
    found = run_of(language[0], tmp_path / "run", language[1], peft_config="lora").record["forgetting"][
        "masked_lm"
    ]
    assert abs(found["after"] - found["before"]) > 1e-4  # of the frozen weights alone: 0


def test_a_checkpoint_without_such_a_head_is_not_asked_and_the_plan_says_so(
    base: Path, language: tuple[Path, Path], tmp_path: Path
) -> None:
    run = run_of(base, tmp_path / "run", language[1], strategy="feature-extraction")
    assert "masked_lm" not in run.record["forgetting"]
    assert any("no head for masked words (BertModel)" in note for note in run.record["plan_notes"])


def test_the_same_words_are_masked_each_time(language: tuple[Path, Path]) -> None:
    from transformers import AutoModelForSequenceClassification

    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(language[0]), tiny.tiny_tokenizer()
    lines = ["We found the film lovely at home.", "dull", "a warm song and a cold room"]
    one, two = (language_loss(str(language[0]), model, tokenizer, lines) for _ in range(2))
    assert one == two and one is not None and one["tokens"] >= 3 and one["before"] == one["after"]


def test_what_cannot_be_read_or_would_not_be(language: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("\n \n")
    wrong = {
        "add --watch_forgetting": (language[1], {"watch_forgetting": False}),
        "holds no text": (tmp_path / "empty.txt", {}),
        "cannot be read as text": (tmp_path / "nothing.txt", {}),
    }
    for said, (file, options) in wrong.items():
        with pytest.raises(Problems, match=said):
            run_of(language[0], tmp_path / "run", file, **options)
    assert not (tmp_path / "run").exists()
