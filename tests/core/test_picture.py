"""Pictures of every kind become safe RGB, and the pixels are the reference processors' own."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage import data

from llava_edge.core.bundle_config import ImageConfig
from llava_edge.core.picture import load_picture, preprocess
from llava_edge.errors import PictureError

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
WHITE = (255, 255, 255)


def photographs() -> list[Image.Image]:
    astronaut, chelsea, coffee = (
        Image.fromarray(array) for array in (data.astronaut(), data.chelsea(), data.coffee())
    )
    return [
        astronaut,  # square
        chelsea,  # 451 x 300
        coffee,  # 600 x 400
        chelsea.rotate(90, expand=True),
        coffee.crop((0, 100, 600, 161)),  # wide and low
        astronaut.crop((200, 0, 237, 511)),  # narrow and high
        astronaut.crop((100, 100, 131, 142)),  # smaller than the tower's input
    ]


def encoded(picture: Image.Image, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(chunk))
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(chunk) - 4) + chunk + crc
    return header + struct.pack(">I", 10) + b"IDAT" + bytes(14)


def raw(pixels: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Undo the normalisation: 0..1."""
    return pixels * np.array(std)[:, None, None] + np.array(mean)[:, None, None]


@pytest.mark.parametrize("size", [224, 336, 61])
@pytest.mark.parametrize("number", range(7))
def test_square_equals_clips_processor(size: int, number: int) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    picture = photographs()[number]
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": size}, crop_size={"height": size, "width": size}
    )
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    ours = preprocess(picture, ImageConfig(size, MEAN, STD, "square"))
    assert ours.shape == (3, size, size)
    assert ours.dtype == np.float32
    assert np.abs(raw(ours, MEAN, STD) - raw(expected, MEAN, STD)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("size", [336, 61])
@pytest.mark.parametrize("number", range(7))
def test_pad_equals_llavas_processor(size: int, number: int) -> None:
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    picture = photographs()[number]
    processor = LlavaImageProcessorPil(
        do_pad=True,
        size={"shortest_edge": size},
        crop_size={"height": size, "width": size},
        image_mean=MEAN,
        image_std=STD,
    )
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    ours = preprocess(picture, ImageConfig(size, MEAN, STD, "pad"))
    assert np.abs(raw(ours, MEAN, STD) - raw(expected, MEAN, STD)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("number", range(7))
def test_stretch_equals_siglips_processor(number: int) -> None:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    picture = photographs()[number]
    processor = SiglipImageProcessorPil(size={"height": 61, "width": 61})
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    half = (0.5, 0.5, 0.5)
    ours = preprocess(picture, ImageConfig(61, half, half, "stretch"))
    assert np.abs(raw(ours, half, half) - raw(expected, half, half)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("number", range(7))
def test_a_larger_shortest_edge_equals_dinov2s_processor(number: int) -> None:
    from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil

    picture = photographs()[number]
    processor = BitImageProcessorPil(
        size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224}
    )
    expected = processor(picture, return_tensors="np")["pixel_values"][0]
    ours = preprocess(picture, ImageConfig(224, MEAN, STD, "square", shortest_edge=256))
    assert np.abs(raw(ours, MEAN, STD) - raw(expected, MEAN, STD)).max() <= 1 / 255 + 1e-6


@pytest.mark.parametrize("mode", ["square", "pad", "stretch"])
@pytest.mark.parametrize("size", [(1, 1), (20_000, 1), (1, 20_000)])
def test_extreme_shapes_stay_small(mode: str, size: tuple[int, int]) -> None:
    picture = Image.new("RGB", size, "red")
    pixels = preprocess(picture, ImageConfig(32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), mode))  # type: ignore[arg-type]
    assert pixels.shape == (3, 32, 32)
    assert np.isfinite(pixels).all()


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_formats(format: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"  # the name says nothing
    Image.new("RGB", (7, 5), (200, 30, 90)).save(path, format)
    from_file = load_picture(path)
    from_name = load_picture(str(path))
    from_bytes = load_picture(path.read_bytes())
    assert from_file.mode == "RGB"
    assert from_file.size == (7, 5)
    assert np.abs(np.asarray(from_file, int)[2, 3] - (200, 30, 90)).max() <= 3
    assert from_file.tobytes() == from_name.tobytes() == from_bytes.tobytes()


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "I", "F"]
)
def test_every_pillow_mode_is_white_where_it_is_white(mode: str) -> None:
    white = Image.new("RGB", (4, 4), "white")
    picture = Image.new(mode, (4, 4), 65535) if mode in "IF" else white.convert(mode)
    assert np.asarray(load_picture(picture)).tolist() == np.full((4, 4, 3), 255).tolist()


def test_16_bits_are_scaled_not_clipped() -> None:
    grey = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    picture = load_picture(encoded(Image.fromarray(grey), "PNG"))
    assert np.asarray(picture)[0, :, 0].tolist() == [0, 1, 128, 255]
    dark = load_picture(encoded(Image.fromarray(grey // 256), "TIFF"))
    assert np.asarray(dark).max() <= 1


def png(depth: int, colour: int, rows: list[bytes], *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG by its specification (ISO/IEC 15948), of colour type 0 (grey), 2 or 6."""
    samples = {0: 1, 2: 3, 6: 4}[colour]
    width = len(rows[0]) * 8 // depth // samples
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    file = b"\x89PNG\r\n\x1a\n"
    for name, content in [(b"IHDR", header), *chunks, (b"IDAT", data), (b"IEND", b"")]:
        crc = struct.pack(">I", zlib.crc32(name + content))
        file += struct.pack(">I", len(content)) + name + content + crc
    return file


def tiff(values: np.ndarray, bits: int, sample_format: int, white_is_zero: bool = False) -> bytes:
    """A grey TIFF by its specification (revision 6.0), little-endian; 12 bits are packed."""
    height, width = values.shape
    data = values.tobytes()
    if bits == 12:
        digits = "".join(f"{value:012b}" for value in values.ravel())
        data = int(digits, 2).to_bytes(len(digits) // 8, "big")
    tags = {
        256: width,
        257: height,
        258: bits,
        259: 1,
        262: 0 if white_is_zero else 1,
        273: 8 + 2 + 12 * 10 + 4,  # where the data begin
        277: 1,
        278: height,
        279: len(data),
        339: sample_format,
    }
    entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def greys(source: object) -> list[int]:
    picture = np.asarray(load_picture(source))  # type: ignore[arg-type]
    assert (picture == picture[:, :, :1]).all()
    return list(map(int, picture[:, :, 0].ravel()))


UNSIGNED, SIGNED, FLOAT = 1, 2, 3


@pytest.mark.parametrize(
    ("values", "bits", "sample_format", "expected"),
    [
        ([0, 257, 32896, 65535], ("<u2", 16), UNSIGNED, [0, 1, 128, 255]),
        ([0, 16, 2056, 4095], ("<u2", 16), UNSIGNED, [0, 0, 8, 16]),  # as dark as it says
        ([0, 16, 2056, 4095], ("<u2", 12), UNSIGNED, [0, 1, 128, 255]),
        ([-5, 0, 16448, 32767], ("<i2", 16), SIGNED, [0, 0, 128, 255]),
        ([0, 7, 128, 255], ("<i4", 32), SIGNED, [0, 7, 128, 255]),
        ([-9, 0, 3, 100], ("<i4", 32), SIGNED, [0, 0, 3, 100]),
        ([0, 257, 32896, 65535], ("<i4", 32), SIGNED, [0, 1, 128, 255]),
        ([0, 2, 500_000, 1_000_000], ("<i4", 32), SIGNED, [0, 0, 128, 255]),
        ([0, 1, 2**31, 2**32 - 1], ("<u4", 32), UNSIGNED, [0, 0, 128, 255]),
        ([0, 0.5, 0.25, 1], ("<f4", 32), FLOAT, [0, 128, 64, 255]),
        ([-1, 0.5, 0.25, 0.75], ("<f4", 32), FLOAT, [0, 128, 64, 191]),
        ([0, 7, 128, 255], ("<f4", 32), FLOAT, [0, 7, 128, 255]),
        ([np.nan, np.inf, 0.5, 1], ("<f4", 32), FLOAT, [0, 255, 128, 255]),
    ],
)
def test_deep_greys_have_the_depth_that_their_tiff_declares(
    values: list[float], bits: tuple[str, int], sample_format: int, expected: list[int]
) -> None:
    stored = np.array([values]).astype(bits[0])
    assert greys(tiff(stored, bits[1], sample_format)) == expected
    if bits[0] in ("<u2", "<f4") and bits[1] != 12:  # Pillow opens no others whose 0 is white
        inverted = greys(tiff(stored, bits[1], sample_format, white_is_zero=True))
        assert inverted == [255 - value for value in expected]


def test_what_pillow_and_tifffile_write_is_read_alike() -> None:
    for kind, expected in (("uint16", [0, 0, 1, 1]), ("int32", [0, 1, 200, 255])):
        stored = np.array([[0, 1, 200, 255]], kind)
        file = io.BytesIO()
        tifffile.imwrite(file, stored, photometric="minisblack")
        assert greys(file.getvalue()) == greys(encoded(Image.fromarray(stored), "TIFF")) == expected
        assert greys(Image.fromarray(stored)) == expected


def test_a_pngs_white_is_the_largest_value_of_its_depth(caplog: pytest.LogCaptureFixture) -> None:
    """sBIT says how exact the samples were before they were scaled, not how bright they are."""
    dark, exact = struct.pack(">HHH", 0, 2056, 4095), (b"sBIT", b"\x0c")
    with caplog.at_level("WARNING", "llava_edge"):
        assert greys(png(16, 0, [dark])) == greys(png(16, 0, [dark], exact)) == [0, 8, 16]
        assert "largest value is 4095, so it is nearly black" in caplog.text
        caplog.clear()
        assert greys(png(16, 0, [struct.pack(">HHH", 0, 2056, 65520)], exact)) == [
            0,
            8,
            255,
        ]
        assert greys(png(16, 0, [bytes(6)])) == [0, 0, 0]
        assert greys(b"P5 1 1 4095\n" + struct.pack(">H", 160)) == [10]
        assert not caplog.text
    assert greys(b"P5 3 1 4095\n" + struct.pack(">HHH", 0, 255, 4095)) == [0, 16, 255]
    assert greys(b"P5 3 1 65535\n" + struct.pack(">HHH", 0, 255, 200)) == [0, 1, 1]


def test_a_png_of_16_bit_colours_keeps_their_upper_8_bits() -> None:
    colours = load_picture(png(16, 2, [struct.pack(">HHH", 0x1234, 65535, 255)]))
    assert colours.getpixel((0, 0)) == (0x12, 255, 0)
    half = load_picture(png(16, 6, [struct.pack(">HHHH", 0, 0, 0, 0x8000)]))
    assert half.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("depth", "row", "transparent", "expected"),
    [
        (1, b"\xa0", 1, [255, 0, 255, 0, 0, 0, 0, 0]),
        (1, b"\xa0", 0, [255] * 8),
        (2, b"\x1b", 1, [0, 255, 170, 255]),
        (4, b"\xf1", 1, [255, 255]),
        (8, b"\xf1\x02", 2, [0xF1, 255]),
        (16, struct.pack(">HH", 32896, 512), 512, [128, 255]),
    ],
)
def test_a_transparent_grey_is_white(
    depth: int, row: bytes, transparent: int, expected: list[int]
) -> None:
    chunk = (b"tRNS", struct.pack(">H", transparent))
    assert greys(png(depth, 0, [row], chunk)) == expected


def test_a_deep_grey_is_turned_upright_too() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    stored = Image.fromarray(np.array([[0, 32896, 65535]], np.uint16))
    picture = load_picture(encoded(stored, "PNG", exif=exif))
    assert picture.size == (1, 3)
    assert [picture.getpixel((0, row))[0] for row in range(3)] == [0, 128, 255]  # type: ignore[index]


def test_a_large_deep_grey_is_converted_in_bands() -> None:
    """Not as one array of float64, which would take 8 bytes a pixel several times."""
    stored = Image.fromarray(np.full((3000, 2000), 32896, np.uint16))
    tracemalloc.start()
    load_picture(stored)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 3000 * 2000


def test_cmyk_jpeg_keeps_its_colour() -> None:
    cmyk = Image.new("RGB", (32, 32), (250, 10, 10)).convert("CMYK")
    picture = load_picture(encoded(cmyk, "JPEG"))
    assert np.abs(np.asarray(picture, int)[16, 16] - (250, 10, 10)).max() <= 8


def test_alpha_is_laid_on_white() -> None:
    picture = Image.new("RGBA", (2, 1), (0, 0, 255, 255))
    picture.putpixel((1, 0), (0, 0, 255, 0))
    assert load_picture(encoded(picture, "PNG")).getpixel((0, 0)) == (0, 0, 255)
    assert load_picture(encoded(picture, "PNG")).getpixel((1, 0)) == WHITE
    palette = Image.new("P", (2, 1), 0)
    palette.putpalette([9, 9, 9])
    assert load_picture(encoded(palette, "PNG", transparency=0)).getpixel((0, 0)) == WHITE


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    gif = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    red, _, blue = np.asarray(load_picture(gif))[2, 3]
    assert red > 250 and blue < 5


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_applied(orientation: int) -> None:
    upright = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's Transpose that stores it so
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = load_picture(encoded(stored, "PNG", exif=exif))
    assert np.array_equal(np.asarray(picture)[:, :, 0], np.asarray(upright))


def one_sentence(error: pytest.ExceptionInfo[PictureError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert text[0].isupper()
    return text


def test_huge_header_is_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(60_000, 60_000))
    with pytest.raises(PictureError, match="make it smaller") as error:
        load_picture(path)
    assert "huge.png" in one_sentence(error)
    with pytest.raises(PictureError, match="make it smaller"):
        load_picture(png_header(178_000, 1_001))


def test_not_a_picture_missing_or_a_folder(tmp_path: Path) -> None:
    words = tmp_path / "words.png"
    words.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    for source, part in [
        (words, "words.png is not a picture"),
        (tmp_path / "gone.png", "gone.png does not exist"),
        (tmp_path, "is a folder"),
        (b"", "0 bytes is not a picture"),
        ("a\0b.png", "cannot be read"),
    ]:
        with pytest.raises(PictureError, match=part) as error:
            load_picture(source)
        one_sentence(error)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_and_damaged_files_never_raise_anything_else(format: str) -> None:
    whole = encoded(Image.fromarray(data.chelsea()).resize((90, 60)), format)
    with pytest.raises(PictureError) as error:
        load_picture(whole[: len(whole) // 2])
    one_sentence(error)
    random = np.random.default_rng(5)
    for _ in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 8):
            damaged[place] = random.integers(256)
        try:
            assert load_picture(bytes(damaged)).mode == "RGB"
        except PictureError:
            pass
