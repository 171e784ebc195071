"""Arrays of JSON files in runs: whatever stands in them, every element once, in order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainer_hooks.datasets.json_arrays import JsonFile, Span, decode_file, elements, is_given
from trainer_hooks.errors import DatasetError

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=12)
    | st.sampled_from(["}, {", '"}', "\\"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


class Top(msgspec.Struct):
    """A file with one array."""

    array: msgspec.Raw = msgspec.Raw()


class Record(msgspec.Struct):
    """An element that is as it should be."""

    id: int


def whole(path: Path, size: int, kind: Any = Any) -> list[Any]:
    """All elements of the file's array, in runs of that size; each run's place is checked on the way."""
    with JsonFile(path, path.name) as file:
        found: list[Any] = []
        before = 0
        for span, run in file.runs(file.top(Top).array, kind, size):
            assert before < span.start < span.end
            assert file.run(span, kind) == run
            before = span.end
            found += run
        return found


def saved(path: Path, content: Any, **how: Any) -> Path:
    path.write_text(json.dumps(content, **how), encoding="utf-8")
    return path


@given(st.lists(values, max_size=30), st.integers(1, 60), st.sampled_from([None, 1]), st.booleans())
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_stands_in_an_array_comes_out_once_and_in_order(
    tmp_path: Path, content: list[Any], size: int, indent: int | None, ascii_only: bool
) -> None:
    path = saved(tmp_path / "a.json", {"array": content, "more": content}, indent=indent, ensure_ascii=ascii_only)
    assert whole(path, size) == content


@given(st.lists(st.dictionaries(st.text(max_size=3), values, max_size=3), min_size=1, max_size=30), st.integers(1, 60))
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_elements_that_hold_such_as_they_are_come_out_whole(tmp_path: Path, content: list[Any], size: int) -> None:
    assert whole(saved(tmp_path / "a.json", {"array": content}), size) == content


def test_runs_are_of_about_the_size_asked_for(tmp_path: Path) -> None:
    image = {"id": 1, "annotations": [{"id": at, "points": [{"x": 1}, {"x": 2}]} for at in range(50)]}
    path = saved(tmp_path / "a.json", {"array": [image] * 200})
    length = path.stat().st_size
    with JsonFile(path, "a.json") as file:
        runs = [span.end - span.start for span, _ in file.runs(file.top(Top).array, Any, length // 20)]
    assert len(runs) in (19, 20)
    assert max(runs) < length / 20 + 2 * length / 200


def test_runs_of_numbers_are_of_that_size_too(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", {"array": list(range(10_000))})
    with JsonFile(path, "a.json") as file:
        runs = [span.end - span.start for span, _ in file.runs(file.top(Top).array, int, 1000)]
    assert 55 < len(runs) < 60


def test_of_an_element_of_another_type_it_is_told_what_is_wrong(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", {"array": [{"id": 1}, None, {"id": "x"}, 7, {"id": 2, "more": []}]})
    first, null, text, number, last = whole(path, 1000, Record)
    assert (first, last) == (Record(1), Record(2))
    assert "null" in null
    assert "$.id" in text
    assert "int" in number


@pytest.mark.parametrize("array", ["[]", "[ ]", "[\n]"])
def test_an_empty_array_has_no_runs(tmp_path: Path, array: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"array": {array}}}')
    assert whole(path, 10) == []


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"array": [{"id": 1}]}', encoding="utf-8-sig")
    assert whole(path, 10, Record) == [Record(1)]
    assert decode_file(path, "a.json", dict) == {"array": [{"id": 1}]}


@pytest.mark.parametrize("array", ["{}", "null", "7", '"[]"'])
def test_what_is_no_array_is_refused(tmp_path: Path, array: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(f'{{"array": {array}}}')
    with pytest.raises(DatasetError, match=r"a\.json: there is no array at byte 10"):
        whole(path, 10)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "it is empty"),
        (b" ", "not valid JSON|truncated"),
        (b'{"array": [1, 2', "truncated"),
        (b'{"array": [1, NaN]}', "at byte 14, '.*NaN.*NaN and Infinity aren't JSON"),
        (b'{"array": [-Infinity]}', "NaN and Infinity aren't JSON"),
        (b'{"array": [Infinity]}', "NaN and Infinity aren't JSON"),
        (b'{"array": [1,]}', "not valid JSON at byte"),
        (b'{"array": ' + b"[" * 100_000, "recursion|truncated|not valid"),
        (b"\xff\xfe{\x00}\x00", "not valid JSON at byte 0"),
        (b'{"array": []} trailing', "not valid JSON at byte"),
    ],
)
def test_what_is_no_json_is_refused_with_the_place(tmp_path: Path, text: bytes, said: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text)
    with pytest.raises(DatasetError, match=said) as failure:
        whole(path, 10)
    assert "a.json" in str(failure.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.json can't be read as JSON: No such file"):
        JsonFile(tmp_path / "a.json", "a.json")


def test_a_run_is_read_again_by_its_place(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", {"array": [{"id": number} for number in range(100)]})
    with JsonFile(path, "a.json") as file:
        spans = [span for span, _ in file.runs(file.top(Top).array, Record, 50)]
    with JsonFile(path, "a.json") as file:
        assert [record for span in spans for record in file.run(Span(*span), Record)] == [Record(n) for n in range(100)]


def test_values_that_are_given_are_told_from_null(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.json", {"array": None})
    with JsonFile(path, "a.json") as file:
        assert not is_given(file.top(Top).array)
    assert not is_given(msgspec.Raw())
    assert is_given(msgspec.Raw(b"0"))


def test_elements_of_bytes_are_those_of_a_file() -> None:
    assert elements(b'[{"id": 1}]', Record) == [Record(1)]
    assert isinstance(elements(b'[{"id": 1}, 2]', Record)[1], str)
