"""Pictures that Pillow reads without a word although something is lost: rows that are missing, channels of 16 bits."""

import struct
import zlib

import pytest

from benchmark.contracts import InvalidRecords
from benchmark.datasets.image_folder import ImageFolder
from benchmark.datasets.sources import common_layout


def png(pixels, *, depth=8, colour=0, interlaced=0):
    """A PNG of 8×8 pixels with these bytes as its stream of rows (PNG specification, sections 5 and 11)."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = chunk(b"IHDR", struct.pack(">2I5B", 8, 8, depth, colour, 0, 0, interlaced))
    rest = chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + header + rest


def read(folder, data, name="a.png"):
    (folder / name).write_bytes(data)
    source = ImageFolder(folder)
    return source.read(common_layout([source])).data


ROW = b"\0" + bytes(range(1, 9))
BLACK = b"\0" * 9
ADAM7 = sum(
    rows * (1 + columns)
    for rows, columns in ((1, 1), (1, 1), (1, 2), (2, 2), (2, 4), (4, 4), (4, 8))
)


@pytest.mark.parametrize(
    "data",
    [png(ROW * 8), png(ROW * 6 + BLACK * 2), png(BLACK * 8), png(b"\0" * ADAM7, interlaced=1)],
    ids=["whole", "black at the end", "black", "interlaced"],
)
def test_a_whole_picture_is_read(tmp_path, data):
    assert read(tmp_path, data).shape == (1, 8, 8, 1)


@pytest.mark.parametrize("rows", [1, 4, 7])
@pytest.mark.parametrize("depth", [8, 16])
def test_rows_that_are_missing_are_no_black_rows(tmp_path, rows, depth):
    row = b"\0" + bytes(range(1, 1 + depth))
    with pytest.raises(InvalidRecords, match=r"pixels end after|truncated"):
        read(tmp_path, png(row * rows, depth=depth))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("rgb.png", png((b"\0" + bytes(48)) * 8, depth=16, colour=2)),
        ("rgba.png", png((b"\0" + bytes(64)) * 8, depth=16, colour=6)),
        ("la.png", png((b"\0" + bytes(32)) * 8, depth=16, colour=4)),
        ("rgb.ppm", b"P6 2 2 65535\n" + bytes(24)),
    ],
)
def test_channels_of_16_bits_are_refused(tmp_path, name, data):
    with pytest.raises(InvalidRecords, match="16 bits a channel"):
        read(tmp_path, data, name)


def test_gray_of_16_bits_goes_through_the_window(tmp_path):
    assert read(tmp_path, png((b"\0" + bytes(range(16))) * 8, depth=16)).max() == 255
