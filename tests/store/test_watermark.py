from pathlib import Path

import pytest

from microblog.store.watermark import Watermark


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    mark = Watermark(tmp_path / "watermark")
    assert mark.read() == 0
    for seq in (4107, 12, 99_999_999, 0):
        mark.write(seq)
        assert Watermark(tmp_path / "watermark").read() == seq


@pytest.mark.parametrize("text", ["", "soon\n", "\x00\x00", "12.5"])
def test_what_is_no_mark_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "watermark").write_text(text)
    assert Watermark(tmp_path / "watermark").read() == 0
