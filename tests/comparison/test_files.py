"""Files that are whole or absent, and what is read of those that are neither."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from pathlib import Path

import pytest
import runs

from yolo_focal.comparison.store.files import read_json, write, write_json
from yolo_focal.comparison.store.results_csv import read_curve
from yolo_focal.comparison.store.run_folder import RESULT, SCHEMA, result_of, write_result
from yolo_focal.comparison.store.run_result import OnTestImages

CONTENT = {"schema": 2, "scores": {"best": 0.5, "名": [1, 2.5, None]}, "words": 'a "quoted" line\n'}


def test_a_json_file_cut_off_at_any_length_is_as_none(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    write_json(file, CONTENT)
    assert read_json(file) == CONTENT
    whole = file.read_bytes()
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        assert read_json(file) is None
    file.unlink()
    assert read_json(file) is None


def test_what_a_run_has_come_to_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Of the same run and schema alone, and whole; each value as JSON has it and as the report takes it."""
    tested = OnTestImages(metrics={"m": 0.25}, classes={"猫": 0.5}, names=["猫"], sizes={"small": 0.1})
    for ended in (runs.result(), runs.result(test=tested, without={"records": "V.x"}, nan_epoch=2)):
        write_result(tmp_path, ended)
        assert result_of(tmp_path, ended.fingerprint) == ended
        content = read_json(tmp_path / RESULT)
        assert content["schema"] == SCHEMA and content["work"]["imgsz"] == 640
        assert content["test"] == (None if ended.test is None else asdict(tested))
        assert result_of(tmp_path, "other") is None
        write_json(tmp_path / RESULT, {**content, "schema": SCHEMA - 1})
        assert result_of(tmp_path, ended.fingerprint) is None
    with pytest.raises(FrozenInstanceError):
        ended.recorded = False  # type: ignore[misc]


def test_a_write_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    write(file, "before")
    with pytest.raises(UnicodeEncodeError):
        write(file, "after \ud800")
    assert file.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


CSV = (
    "epoch,time,train/box_loss,metrics/mAP50-95(B),val/box_loss\n"
    "1,1.5,2.0,0.1,1.0\n2,3.0,nan,0.25,1.0\n3,4.5,2.0,0.375,1.0\n"
)


def test_a_learning_curve_is_read_up_to_the_last_whole_row(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text(CSV)
    assert read_curve(file, "metrics/mAP50-95(B)") == ([0.1, 0.25, 0.375], 2)
    for length in range(len(CSV)):
        file.write_text(CSV[:length])
        values, nan_epoch = read_curve(file, "metrics/mAP50-95(B)")
        assert values == [0.1, 0.25, 0.375][: max(0, CSV[:length].count("\n") - 1)]
        assert nan_epoch == (2 if len(values) >= 2 else None)
    file.unlink()
    assert read_curve(file, "metrics/mAP50-95(B)") == ([], None)


def test_columns_may_be_padded_as_in_older_releases(tmp_path: Path) -> None:
    file = tmp_path / "results.csv"
    file.write_text("                  epoch,   metrics/mAP50-95(B)\n                      1,                0.125\n")
    assert read_curve(file, "metrics/mAP50-95(B)").values == [0.125]


@pytest.mark.parametrize("text", ["", "\n", "[1, 2", "{}x", "\xff"])
def test_what_is_not_json_is_as_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    assert read_json(tmp_path / "a.json") is None
