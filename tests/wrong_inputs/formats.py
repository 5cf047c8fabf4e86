"""Files that are missing, broken, empty, or of a format with a trap."""

from __future__ import annotations

from .case import Case
from .contents import ROWS, TEXTS, cut, dictionary, labelled, lines, link, objects, parquet, table, twice

REVIEWS = table()
EIGHT = "".join(REVIEWS.splitlines(keepends=True)[:21])


def one(name: str, file: str, content, flags: str = "", code: int = 2) -> Case:  # type: ignore[no-untyped-def]
    """One file, given as the data set."""
    return Case(name, f"--dataset_name {file} {flags}".rstrip(), {file: content}, code)


FORMATS = (
    Case("no such file", "--train_file reviews.csv"),
    Case("no such file, near name", "--dataset_name b.csv", {"a.csv": REVIEWS}),
    one("cut parquet", "a.parquet", cut(parquet(), 500)),
    one("parquet of 0 bytes", "a.parquet", ""),
    one("unknown suffix", "a.xlsx", b"PK"),
    Case("folder for a file", "--train_file a.csv", {"a.csv/": ""}),
    Case("link to nowhere", "--train_file a.csv", {"a.csv": link("gone.csv")}),
    one("latin-1", "a.csv", "text,label\ncaf\xe9,good\nbad,bad\n".encode("latin-1")),
    one("UTF-16", "a.csv", REVIEWS.encode("utf-16")),
    one("UTF-16-LE without a mark", "a.csv", REVIEWS.encode("utf-16-le")),
    one("binary called csv", "a.csv", b"text,label\n\x80\x04\x95\xff,good\n"),
    one("csv line with too many cells", "a.csv", EIGHT + "so, so, so,bad\n" + REVIEWS[11:]),
    one("csv line with too few", "a.csv", EIGHT + "so\n" + REVIEWS[11:]),
    one("csv with an open quote", "a.csv", EIGHT + '"so,bad\n' + REVIEWS[11:]),
    one("jsonl with a broken line", "a.jsonl", "".join(objects(ROWS[:5])) + '{"text": "x", "label"\n'),
    one("jsonl with a line that is no object", "a.jsonl", objects(ROWS[:5]) + '["x", "good"]\n'),
    one("json that ends early", "a.json", '[{"text": '),
    one("json of a number", "a.json", "3"),
    one("json with NaN among the labels", "a.json", '[{"text": "x", "label": NaN}, {"text": "y", "label": "good"}]'),
    one("jsonl with labels of two types", "a.jsonl", objects([("a", "x"), ("b", 1)])),
    one("empty csv", "a.csv", ""),
    one("empty jsonl", "a.jsonl", ""),
    one("empty json", "a.json", ""),
    one("json of an empty list", "a.json", "[]"),
    one("empty txt", "a.txt", ""),
    one("txt without labels", "a.txt", "\n".join(TEXTS)),
    one("csv of a header alone", "a.csv", "text,label\n"),
    one("parquet without rows", "a.parquet", parquet(text=[], label=[])),
    one("jsonl of empty objects", "a.jsonl", "{}\n" * 5),
    one("a column named twice, csv", "a.csv", table([(a, b, b) for a, b in ROWS], ("text", "label", "label"))),
    one("a column named twice, parquet", "a.parquet", twice),
    one("csv without a header", "a.csv", table(ROWS[1:], ROWS[0])),
    one("csv cut by pipes", "a.csv", table(delimiter="|"), code=0),
    one("csv cut by semicolons", "a.csv", table(delimiter=";"), code=0),
    one(
        "csv cut by semicolons, commas in the texts",
        "a.csv",
        table([(f"{a}, and more, and more", b) for a, b in ROWS], delimiter=";"),
        code=0,
    ),
    one("byte order mark and CRLF", "a.csv", b"\xef\xbb\xbf" + REVIEWS.replace("\n", "\r\n").encode(), code=0),
    one("lines that end in CR", "a.csv", REVIEWS.replace("\n", "\r"), code=0),
    one("jsonl with ragged keys", "a.jsonl", lines(
        {"text": a} if i % 3 == 0 else {"text": a, "label": b} for i, (a, b) in enumerate(ROWS)
    ), code=0),
    one("jsonl with a nested column beside", "a.jsonl", lines(
        {"text": a, "label": b, "meta": {"stars": 3}} for a, b in ROWS
    ), code=0),
    one("parquet with dictionary labels", "a.parquet", dictionary, code=0),
    Case("plain csv", files={"a.csv": REVIEWS}, code=0),
    Case("folder that is empty", "--dataset_name d", {"d/": ""}),
    Case("folder without data", "--dataset_name d", {"d/notes.md": "x"}),
    Case("folder with an empty file among good ones", "--dataset_name d", {"d/train.csv": REVIEWS, "d/test.csv": ""}),
    Case("several missing files", "--train_file a.csv --validation_file b.csv --test_file c.csv", {"d.csv": REVIEWS}),
    Case(
        "unlabelled test file",
        "--train_file a.csv --test_file t.csv",
        {"a.csv": labelled([0, 1] * 30), "t.csv": labelled([-1] * 60)},
        0,
    ),
    Case(
        "one file for all three splits",
        "--train_file a.csv --test_file a.csv --validation_file a.csv",
        {"a.csv": REVIEWS},
        0,
    ),
    Case("dataset_name and train_file", "--dataset_name a.csv --train_file a.csv", {"a.csv": REVIEWS}),
    Case("data set that is not on this machine", "--dataset_name stanfordnlp/imdb"),
    Case("no id of the Hub", "--dataset_name 'imdb reviews!'"),
    Case("configuration of a file", "--dataset_name a.csv --dataset_config_name x", {"a.csv": REVIEWS}, 0),
    Case("unknown split", "--train_split trian"),
    Case("slice that is none", "--train_split train[:abc]"),
)  # fmt: skip
