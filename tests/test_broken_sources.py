"""What cannot be read, or is not there, is said with the place and what to do."""

from __future__ import annotations

import time

import pytest
from data_tasks import TEXT, refused, reviews, write_csv
from source_files import write

from hf_transfer.data import load

BROKEN = {
    "too few fields": ("a.csv", b"text,label\nfine,good\nbad\nok,good\n", ["line 3 has 1", "2 fields"]),
    "too many fields": ("a.csv", b"text,label\nfine,good\nso, so,bad\n", ["line 3 has 3"]),
    "half-cut quote": ("a.csv", b'text,label\nfine,good\n"half of a', ["line 3", "never closed"]),
    "latin-1": ("a.csv", b"text,label\nfine,good\ncaf\xe9,bad\n", ["line 3", "UTF-8", "0xe9"]),
    "utf-16 without a mark": ("a.csv", "text,label\nfine,good\n".encode("utf-16-le"), ["looks like UTF-16"]),
    "bytes of no text": (
        "a.csv",
        b"text,label\n\x80\x04\x95\xff,good\n",
        ["line 2", "0x80", "not a text file"],
    ),
    "utf-16": ("a.csv", "text,label\nfine,good\n".encode("utf-16"), ["UTF-16"]),
    "empty": ("a.csv", b"", ["empty"]),
    "header only": ("a.csv", b"text,label\n", ["no rows"]),
    "no header": ("a.csv", b"great,good\nbad one,bad\nfine,good\n", ["header"]),
    "broken json line": ("a.jsonl", b'{"text": "a"}\n{"text": "b"\n{"text": "c"}\n', ["line 2"]),
    "broken json": ("a.json", b'[{"text": "a"},\n{"text" "b"}]', ["line 2"]),
    "cut json": ("a.json", b'[{"text": "a"},\n{"text": "b"', ["cut off"]),
    "a line that is no object": ("a.jsonl", b'{"text": "a"}\n3\n', ["line 2", "int"]),
    "mixed types": (
        "a.jsonl",
        b'{"text": "a", "label": 1}\n{"text": "b", "label": "x"}\n',
        ["label", "line 2"],
    ),
    "binary": ("a.txt", b"abc\x00def", ["NUL"]),
    "cut parquet": ("a.parquet", b"PAR1abc", ["not a readable parquet"]),
    "unknown suffix": ("a.xlsx", b"PK", ["suffix .xlsx"]),
}


@pytest.mark.parametrize("case", list(BROKEN))
def test_a_broken_file_says_what_and_where(case, tmp_path):
    name, content, expected = BROKEN[case]
    (tmp_path / name).write_bytes(content)
    said = refused(load, TEXT, tmp_path / name)
    assert name in said
    for words in expected:
        assert words in said


def test_a_half_cut_parquet_file(tmp_path):
    path = write("parquet", tmp_path)
    path.write_bytes(path.read_bytes()[:-200])
    assert "reviews.parquet" in refused(load, TEXT, path)


def test_several_broken_files_are_all_named(tmp_path):
    write_csv(tmp_path / "train.csv", reviews())
    (tmp_path / "validation.jsonl").write_text("{")
    said = refused(
        load,
        TEXT,
        train_file=tmp_path / "trian.csv",
        validation_file=tmp_path / "validation.jsonl",
        test_file=tmp_path / "none" / "test.csv",
    )
    assert "did you mean train.csv" in said
    assert "validation.jsonl: line 1" in said
    assert "no folder" in said


def test_nothing_or_too_much_given(tmp_path):
    assert "no data given" in refused(load, TEXT)
    assert "--train_file" in refused(load, TEXT, "somewhere", train_file="a.csv")
    assert "missing" in refused(load, TEXT, validation_file=write_csv(tmp_path / "v.csv", reviews()))
    assert "no rows found" in refused(
        load, TEXT, tmp_path / "v.csv" and tmp_path.joinpath("empty").mkdir() or tmp_path / "empty"
    )
    assert load(TEXT, default=reviews_file(tmp_path)).source["splits"]["train"] == 32


def reviews_file(folder):
    return write_csv(folder / "reviews.csv", reviews())


def test_a_hub_id_answers_at_once_without_a_network(monkeypatch):
    from hf_transfer.data import hub

    begun = time.monotonic()
    said = refused(load, TEXT, "nobody/no-such-data")
    assert time.monotonic() - begun < 5
    assert "HF_HUB_OFFLINE" in said
    assert "hf download" in said
    assert "no Hub id" in refused(load, TEXT, "what is this")
    assert hub.reachable("http://127.0.0.1:9", patience=0.5) is False


def test_a_hub_that_never_accepts_is_given_up_soon(monkeypatch):
    import socket

    from hf_transfer.data import hub

    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: time.sleep(30))
    begun = time.monotonic()
    assert hub.reachable("https://huggingface.co", patience=0.2) is False
    assert time.monotonic() - begun < 2


def test_a_shape_that_no_one_meant(tmp_path):
    assert "file format" in refused(load, TEXT, "csv")
    assert "no rows" in refused(load, TEXT, [])
    assert "no rows" in refused(load, TEXT, ([], []))
    assert "2 inputs but 1 labels" in refused(load, TEXT, (["a", "b"], ["x"]))
    assert "int is not understood" in refused(load, TEXT, 5)
    (tmp_path / "half.jsonl").write_text('\n{"text": "\\ud83d", "label": "a"}\n')
    assert "half a character (a lone surrogate) in line 2" in refused(load, TEXT, tmp_path / "half.jsonl")
