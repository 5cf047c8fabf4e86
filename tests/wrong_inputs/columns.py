"""Columns that are not there or hold something else, labels that are none, too few rows, odd texts."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from .case import Case
from .contents import LABELS, ROWS, TEXTS, Maker, empty_lists, labelled, lines, parquet, table

REVIEWS = {"a.csv": table()}
DATES = [date(2024, 1, 1 + i % 28) for i in range(60)]
DAYS = [day.isoformat() for day in DATES]
PAIRS = ("premise", "hypothesis", "label")


def csv(name: str, content: str, flags: str = "", code: int = 2) -> Case:
    return Case(name, f"--dataset_name a.csv {flags}".rstrip(), {"a.csv": content}, code)


def arrow(name: str, content: Maker, flags: str = "", code: int = 2) -> Case:
    return Case(name, f"--dataset_name a.parquet {flags}".rstrip(), {"a.parquet": content}, code)


def nested(name: str, text: object, label: object, flags: str = "", column: str = "text") -> Case:
    content = lines({column: text, "label": label if label is not None else LABELS[i]} for i in range(60))
    return Case(name, f"--dataset_name a.jsonl {flags}".rstrip(), {"a.jsonl": content})


NAMED = (
    csv("wrong text column", table(), "--text_column txet"),
    csv("wrong label column", table(), "--label_column lable"),
    csv("both columns wrong", table(), "--text_column txet --label_column lable"),
    csv(
        "several candidates",
        table([(a, b, b.upper()) for a, b in ROWS], ("text", "k", "z")),
    ),
    csv("label column of the text", table(), "--text_column text --label_column text"),
    csv(
        "both texts of a pair in one column",
        table([(a, a[::-1], b) for a, b in ROWS], PAIRS),
        "--text_column premise --text_pair_column premise",
    ),
    csv("text pair", table([(a, a[::-1], b) for a, b in ROWS], PAIRS), code=0),
    csv(
        "text pair with one side empty",
        table([(a, "" if i % 3 == 0 else a[::-1], b) for i, (a, b) in enumerate(ROWS)], PAIRS),
        code=0,
    ),
    csv("columns that differ in case only", table([(a, a[::-1], b) for a, b in ROWS], ("text", "Text", "label")), code=0),
    csv("text of numbers", table([(i, b) for i, b in enumerate(LABELS)]), code=0),
    nested("nested text", {"en": "x"}, None),
    nested("nested text, named", {"en": "x"}, None, "--text_column review", "review"),
    nested("nested label", "x", {"name": "good"}),
    arrow("text of lists", parquet(text=[[text] for text in TEXTS])),
    arrow("text of bytes", parquet(text=[text.encode() for text in TEXTS])),
    arrow("labels of lists of lists", parquet(label=[[["good"]]] * 60)),
    arrow("labels that are dates", parquet(label=DATES)),
    arrow("dates beside the text, no label", parquet(when=DATES, label=None)),
    arrow("decimal labels", parquet(label=[Decimal(i % 2) for i in range(60)])),
)  # fmt: skip


CLASSES = (
    csv("one class", labelled(["good"] * 60)),
    csv("one row", table(ROWS[:1])),
    csv("two rows", table(ROWS[:2])),
    csv("three rows", table(ROWS[:3])),
    csv("four rows", table(ROWS[:4]), code=0),
    csv("labels all different", labelled([f"id{i}" for i in range(60)])),
    csv("no labels", labelled([""] * 60)),
    csv("labels that are dates, as text", labelled(DAYS), code=0),
    csv("labels with slash, quote and line break", labelled(["a/b", 'a"b', "a\nb"] * 20), code=0),
    csv("labels LABEL_0 and a very long one", labelled(["LABEL_0", "x" * 300] * 30), code=0),
    csv(
        "1,000 labels, two rows each",
        table([(f"text number {i}", f"l{i % 1000}") for i in range(2000)]),
        "--max_train_samples 100 --max_eval_samples 20",
        0,
    ),
    arrow("every label missing", parquet(label=[float("nan")] * 60)),
    arrow("some labels missing", parquet(label=[None if i % 5 == 0 else b for i, b in enumerate(LABELS)]), code=0),
    arrow("an infinite number among the labels", parquet(label=[float("inf") if i == 5 else i / 2 for i in range(60)])),
    arrow("some lists of labels empty", parquet(label=[[] if i % 5 == 0 else [b] for i, b in enumerate(LABELS)]), code=0),
    arrow("all lists of labels empty", empty_lists),
    csv("numbers as classes", labelled([i % 3 for i in range(60)]), "--problem_type single_label_classification", 0),
    csv("words as numbers", table(), "--problem_type regression"),
    csv("one label a row as several", table(), "--problem_type multi_label_classification", 0),
    csv("problem type that is none", table(), "--problem_type multi_label"),
    Case(
        "label that only validation has",
        "--train_file a.csv --validation_file v.csv",
        REVIEWS | {"v.csv": labelled(["god" if i % 7 == 0 else b for i, b in enumerate(LABELS)])},
    ),
    csv(
        "labels that the sample loses",
        table([(f"text number {i}", f"c{i % 15}") for i in range(60)]),
        "--max_train_samples 10",
        0,
    ),
    csv("every text empty", table([("", b) for b in LABELS])),
    csv("every text blank", table([("  ", b) for b in LABELS])),
    csv(
        "emoji, right-to-left and zero-width texts",
        table([(["\U0001f600 fine", "\u0645\u0631\u062d\u0628\u0627", "\u200b\u200d"][i % 3] + (str(i) if i % 3 < 2 else ""), b)
               for i, b in enumerate(LABELS)]),
        code=0,
    ),
    csv("texts of 100 kB", table([(f"{a} " * 4000, b) for a, b in ROWS[:20]]), code=0),
)  # fmt: skip
COLUMNS = (*NAMED, *CLASSES)
