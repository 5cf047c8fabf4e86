"""The report from synthetic run folders: whole for every problem type, escaped, and loading nothing."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_runs import PLACE, SECRET, write_run

from hf_transfer.problems import Problems
from hf_transfer.report import tables, training, write_report
from hf_transfer.report.figures import Figure
from hf_transfer.report.read import read_record
from hf_transfer.report.wording import number, rate, settings, share, without_paths, without_texts


class Page(HTMLParser):
    """Tags with their attributes, and whether every one that needs closing was closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def report(folder: Path) -> str:
    return write_report(folder).read_text(encoding="utf-8")


def words(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page.split("</style>")[1])).replace("&nbsp;", " ")


@pytest.mark.parametrize(
    ("kind", "plots"),
    [
        ("single", {"learning_curve", "confusion", "per_class"}),
        ("multi", {"learning_curve", "per_class"}),
        ("regression", {"learning_curve", "scatter"}),
    ],
)
@pytest.mark.parametrize("test", [True, False])
def test_every_problem_type_has_its_whole_page(
    tmp_path: Path, kind: str, plots: set[str], test: bool
) -> None:
    folder = write_run(tmp_path / "run", kind, labels=("a", "b", "c"), test=test)
    page = report(folder)
    text = words(page)
    assert {path.stem for path in (folder / "plots").iterdir()} == plots
    tags = Page(page).tags
    images = [attributes for tag, attributes in tags if tag == "img"]
    assert len(images) == len(plots) and all(len(str(image["alt"])) > 30 for image in images)
    assert "0.900 95 % interval 0.830 to 0.960" in text
    assert f"Baseline {'0.000' if kind == 'regression' else '0.500'}" in text
    assert ("chosen and reported on validation" in text) is not test
    assert SECRET in text and "block.1 to block.6" in text and "11,780,000" in text
    ids = {attributes["id"] for _, attributes in tags if "id" in attributes}
    targets = {str(attributes["href"])[1:] for tag, attributes in tags if tag == "a"}
    assert targets <= ids


def test_page_loads_nothing_from_elsewhere_and_shows_no_local_path(tmp_path: Path) -> None:
    page = report(write_run(tmp_path / "run"))
    assert "//" not in re.sub(r"data:image/png;base64,[^\"]*", "", page)
    for tag, attributes in Page(page).tags:
        assert tag not in ("script", "link", "iframe", "object", "embed")
        assert not any(name.startswith("on") for name in attributes)
        assert str(attributes.get("src", "data:image/png;")).startswith("data:image/png;")
    assert "default-src 'none'" in page
    assert "/home/" not in page and "private data" not in page and str(tmp_path) not in page


def test_texts_and_labels_are_escaped(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    folder = write_run(tmp_path / "run", labels=(evil, '"><img src=x onerror=y>', "a & $b_{c"))
    frame = pd.read_parquet(folder / "predictions.parquet")
    frame["text"] = [f"<b onclick='x'>{evil}{{{{ 7 * 7 }}}}"] * len(frame)
    frame.to_parquet(folder / "predictions.parquet")
    page = report(folder)
    assert evil not in page and "&lt;script&gt;alert(1)&lt;/script&gt;" in page and "{{ 7 * 7 }}" in page
    assert not [tag for tag, _ in Page(page).tags if tag == "script"]
    assert len([tag for tag, _ in Page(page).tags if tag == "img"]) == 3


@pytest.mark.parametrize("kind", ["single", "multi", "regression"])
@pytest.mark.parametrize(
    "missing", ["predictions.parquet", "history.jsonl", "phases.json", "all_results.json"]
)
def test_a_missing_file_costs_only_its_section(tmp_path: Path, kind: str, missing: str) -> None:
    folder = write_run(tmp_path / "run", kind)
    (folder / missing).unlink()
    text = words(report(folder))
    assert ("was not evaluated" in text) is (missing == "all_results.json")
    assert ("Learning curve" in text) is (missing != "history.jsonl")
    assert ("What learned" in text) is (missing != "phases.json")


def test_run_json_alone_is_enough_and_none_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    assert "was not evaluated" in words(report(tmp_path))
    with pytest.raises(Problems, match="no run.json"):
        write_report(tmp_path / "nowhere")
    (tmp_path / "run.json").write_text('{"form')
    with pytest.raises(Problems, match="not JSON"):
        write_report(tmp_path)


def test_many_classes_and_names_without_glyphs(tmp_path: Path) -> None:
    labels = ("驚き", "🎉", "x" * 300, *(f"intent {i}" for i in range(147)))
    page = report(write_run(tmp_path / "run", labels=labels, rows=600, phases=5))
    assert "驚き" in page and "intent 146" in page and page.count("<details") == 5


def test_images_have_no_text_column(tmp_path: Path) -> None:
    text = words(report(write_run(tmp_path / "run", texts=False, task="image-classification")))
    assert "Most confident mistakes" in text and "Row Label Predicted Probability" in text


def test_tables_count_right(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", labels=("a", "b", "c"))
    pd.DataFrame({
        "row": [0, 1, 2, 3, 4], "split": ["test"] * 4 + ["validation"], "label": list("aaabb"),
        "prediction": list("aabab"), "probability_a": [0.9, 0.8, 0.4, 0.7, 0.1], "probability_b": [0.1, 0.2, 0.6, 0.3, 0.9],
    }).to_parquet(folder / "predictions.parquet")  # fmt: skip
    record = read_record(folder)
    assert record.predictions is not None and len(record.predictions) == 4  # the other split is left out
    assert tables.confusion(record).tolist() == [[2, 1, 0], [1, 0, 0], [0, 0, 0]]
    first, second, third = tables.per_class(record)
    assert np.allclose([first["precision"], first["recall"], first["f1"]], [2 / 3, 2 / 3, 2 / 3])
    assert (second["precision"], second["recall"], second["support"], second["predicted"]) == (0, 0, 1, 1)
    assert (third["precision"], third["recall"], third["f1"]) == (None, None, None)
    assert [(row["row"], row["size"]) for row in tables.mistakes(record)] == [(3, 0.7), (2, 0.6)]
    assert (
        tables.confused_pairs(record)[0]["label"] == "b"
    )  # of equal counts, the larger share of its class first


def test_mistakes_of_labels_and_numbers_come_largest_first(tmp_path: Path) -> None:
    for kind in ("multi", "regression"):
        found = tables.mistakes(read_record(write_run(tmp_path / kind, kind, labels=("a", "b", "c"))))
        sizes = [abs(row["size"]) for row in found]
        assert found[0]["row"] == 0 and found[0]["text"] == SECRET and sizes == sorted(sizes, reverse=True)


def test_verdict_knows_which_way_is_better() -> None:
    def verdict(key: str, low: float, value: float, high: float, baseline: float) -> str:
        return Figure(key, key, value, low, high, baseline).verdict

    assert verdict("accuracy", 0.6, 0.7, 0.8, 0.5).startswith("The whole")
    assert "chance" in verdict("accuracy", 0.4, 0.7, 0.8, 0.5) and "not better" in verdict(
        "accuracy", 0.2, 0.3, 0.4, 0.5
    )
    assert verdict("mse", 1.0, 2.0, 3.0, 4.0).startswith("The whole") and "chance" in verdict(
        "mse", 1.0, 2.0, 5.0, 4.0
    )
    assert Figure("accuracy", "", 0.9, None, None, 0.5).verdict == ""


def test_phases_are_put_end_to_end_whether_steps_are_local_or_global(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", phases=3)
    assert max(training.curve(read_record(folder), "eval_loss")[0]) == 3 * 69
    lines = [f'{{"phase": {k}, "step": {69 * k}, "eval_loss": 0.5}}' for k in (1, 2, 3)]
    (folder / "history.jsonl").write_text("\n".join(lines))
    assert training.curve(read_record(folder), "eval_loss")[0] == [69, 138, 207]


def test_numbers_and_words() -> None:
    assert [number(x) for x in (0.5, 1234.5, 1e-5, None, float("nan"))] == [
        "0.500",
        "1,234",
        "1.00e-05",
        "–",
        "–",
    ]
    assert [rate(x) for x in (5e-5, 0.001, None)] == ["5e-5", "0.001", "–"]
    assert [share(x) for x in (0, 0.0004, 0.02, 1)] == ["0 %", "under 0.1 %", "2.0 %", "100 %"]
    assert (
        without_paths(f"see {PLACE} and a/b or https://x.org/y")
        == "see reviews.csv and a/b or https://x.org/y"
    )
    assert without_paths(r"C:\Users\Me Too\x.csv: broken") == "x.csv: broken"
    assert without_texts("column 'text' holds 'a row of it's own'", []) == "column 'text' holds “…”"
    assert settings({"output_dir": "x", "hub_token": "t", "a": "/b/c", "learning_rate": 1e-3, "n": None}) == {
        "learning_rate": "0.001"
    }


def test_importing_the_report_is_light() -> None:
    heavy = (
        "torch",
        "transformers",
        "datasets",
        "pandas",
        "sklearn",
        "matplotlib",
        "evaluate",
        "numpy",
        "jinja2",
    )
    code = f"import sys, hf_transfer.report; print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_writing_needs_no_torch(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    code = (
        "import sys; from hf_transfer.report import write_card, write_report\n"
        f"write_report({str(folder)!r}); write_card({str(folder)!r})\n"
        "print([m for m in ('torch', 'transformers', 'datasets', 'matplotlib.pyplot') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
