"""Pieces of large files: where they end depends on the content alone, not on how the bytes are read."""

from __future__ import annotations

import io
import random

import pytest

from stagewright.remote.pieces import AVERAGE, LEAST, MOST, pieces_of


@pytest.mark.parametrize("size", [1, MOST, 8 << 20, (8 << 20) + 1, (17 << 20) + 12_345])
def test_pieces_end_where_those_of_the_whole_file_end(size: int) -> None:
    compiled = pytest.importorskip("pyfastcdc.cy", reason="NOT TESTED: pyfastcdc is not installed")
    data = random.Random(size).randbytes(size // 2).ljust(size, b"\0")
    whole = compiled.FastCDC(AVERAGE, min_size=LEAST, max_size=MOST).cut_buf(data)
    assert [len(one) for one in pieces_of(io.BytesIO(data + b"next"), size)] == [len(one.data) for one in whole]
    assert b"".join(pieces_of(io.BytesIO(data + b"next"), size)) == data


def test_a_stream_that_ends_too_early_is_an_error() -> None:
    with pytest.raises(EOFError):
        list(pieces_of(io.BytesIO(b"short"), MOST))
