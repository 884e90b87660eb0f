"""Samples come out of files of any layout as they went in, with the line they begin on."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llava_edge.data import json_stream
from llava_edge.data.json_stream import NotJson, read_json_texts
from llava_edge.errors import RecordError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
samples = st.lists(st.dictionaries(st.text(), values, max_size=3), max_size=5)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "CHUNK", 5)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(samples=samples, indent=st.sampled_from([None, 0, 3]), escaped=st.booleans())
def test_a_list_is_read_whatever_its_layout(
    tmp_path: Path, small_chunks: None, samples: list[Any], indent: int | None, escaped: bool
) -> None:
    path = tmp_path / "list.json"
    text = json.dumps(samples, indent=indent, ensure_ascii=escaped)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    found = list(read_json_texts(path))
    assert [json.loads(item.text) for item in found] == samples
    assert [item.value for item in found] == samples


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_samples_know_the_line_that_they_begin_on(
    tmp_path: Path, small_chunks: None, newline: str
) -> None:
    lines = ["\ufeff", "[", "", ' {"a":', '   1}, {"b": 2},', "", '{"c": "x\\ny"}', "]", ""]
    path = tmp_path / "list.json"
    path.write_bytes(newline.join(lines).encode())
    found = [(item.line, json.loads(item.text)) for item in read_json_texts(path)]
    assert found == [(4, {"a": 1}), (5, {"b": 2}), (7, {"c": "x\ny"})]


def test_lines_are_samples_even_where_one_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"a": 1}\n\n{"b": \n{"c": 3}')
    found = [(item.line, item.text) for item in read_json_texts(path)]
    assert found == [(1, '{"a": 1}'), (3, '{"b":'), (4, '{"c": 3}')]
    first, broken, last = (item.value for item in read_json_texts(path))
    assert (first, last) == ({"a": 1}, {"c": 3}) and isinstance(broken, NotJson)


BROKEN = {
    "cut inside a sample": ('[\n{"a": 1},\n{"b": "tw', "line 3 .*Unterminated"),
    "cut after a sample": ('[{"a": 1}\n', "line 2 .*the file ends where , or ]"),
    "cut after a comma": ('[{"a": 1},\n', "line 2 "),
    "broken in the middle": ('[{"a": 1},\n{"b" 2},\n' + '{"c": 3},\n' * 99 + "]", "line 2 "),
    "no comma": ('[{"a": 1}\n{"b": 2}]', "line 2 .*'{' was found where , or ]"),
    "more after the end": ("[]\n[]", r"line 2 .*follows the end"),
    "nested too deeply": ("[" * 200_000, "line 1 "),
}


@pytest.mark.parametrize(("text", "named"), BROKEN.values(), ids=BROKEN)
def test_a_broken_list_is_refused_at_its_line(
    tmp_path: Path, small_chunks: None, text: str, named: str
) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(RecordError, match=f"broken.json break at {named}") as caught:
        list(read_json_texts(path))
    assert "\n" not in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.jsonl").write_bytes(b'{"a": "\xe9"}')
    for name in ("latin.jsonl", "none.json", ""):
        with pytest.raises(RecordError, match="cannot be read"):
            list(read_json_texts(tmp_path / name))
