"""Picture files of every kind: numbers keep their meaning, and nothing is cut off.

What is no picture is refused with a line of code that reads it.
"""

import re
import struct
import warnings
import zlib
from pathlib import Path

import imageio.v2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageDraw

from cvcourse.data import DataError, open_picture
from cvcourse.data import pictures as pictures_module

HEIGHT, WIDTH = 12, 20
RAMP = np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2)  # (H, W, 3)


def png_of(path, pixels, colour_type, before=b""):
    """Write 16-bit pixels (H, W) or (H, W, channels) as a PNG; before: chunks before the pixels."""

    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + before + chunk(b"IDAT", zlib.compress(rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b""))
    return path


def transparency(*colour):
    body = struct.pack(f">{len(colour)}H", *colour)
    return (
        struct.pack(">I", len(body))
        + b"tRNS"
        + body
        + struct.pack(">I", zlib.crc32(b"tRNS" + body))
    )


def dicom_of(path, numbers, slope=1, intercept=0, syntax="1.2.840.10008.1.2.1"):
    """Write integers (H, W) as a DICOM file of int16, uncompressed unless `syntax` says else."""

    def element(group, number, kind, body):
        body += b"\0" * (len(body) % 2) if kind != b"UI" or len(body) % 2 else b""
        if kind == b"OW":
            return struct.pack("<HH2sHI", group, number, kind, 0, len(body)) + body
        return struct.pack("<HH2sH", group, number, kind, len(body)) + body

    short = lambda value: struct.pack("<H", value)  # noqa: E731
    elements = [
        element(0x0002, 0x0010, b"UI", syntax.encode()),
        element(0x0028, 0x0002, b"US", short(1)),
        element(0x0028, 0x0010, b"US", short(numbers.shape[0])),
        element(0x0028, 0x0011, b"US", short(numbers.shape[1])),
        element(0x0028, 0x0100, b"US", short(16)),
        element(0x0028, 0x0101, b"US", short(16)),
        element(0x0028, 0x0102, b"US", short(15)),
        element(0x0028, 0x0103, b"US", short(1)),
        element(0x0028, 0x1052, b"DS", str(intercept).encode()),
        element(0x0028, 0x1053, b"DS", str(slope).encode()),
        element(0x7FE0, 0x0010, b"OW", numbers.astype("<i2").tobytes()),
    ]
    path.write_bytes(b"\0" * 128 + b"DICM" + b"".join(elements))
    return path


def close(picture, wanted):
    """Whether a picture (3, H, W) has these values, (H, W) in every channel or (H, W, 3)."""
    wanted = torch.from_numpy(np.broadcast_to(np.atleast_3d(wanted), (*wanted.shape[:2], 3)).copy())
    return torch.allclose(picture, wanted.movedim(-1, 0).float(), atol=1e-6)


# Eight bits


def test_files_are_opened_shrunk_and_turned(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a camera held upright
    Image.new("RGB", (900, 300), "red").save(tmp_path / "wide.jpg", exif=exif)
    picture = open_picture(tmp_path / "wide.jpg", longest=120)
    assert picture.shape == (3, 120, 40)
    Image.new("RGBA", (10, 10), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (open_picture(tmp_path / "clear.png") == 1).all()


def test_bytes_are_divided_by_255(tmp_path):
    pixels = (COLOURS // 257).astype(np.uint8)
    for name in ("colours.png", "colours.tif", "colours.bmp"):
        Image.fromarray(pixels).save(tmp_path / name)
        assert close(open_picture(tmp_path / name), pixels / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_is_turned_as_it_says(tmp_path, orientation, compression, dtype):
    pixels = (RAMP // (257 if dtype == np.uint8 else 1)).astype(dtype)
    turned = [(0x0112, 3, 1, orientation, True)]
    how = dict(photometric="minisblack", compression=compression, extratags=turned)
    tifffile.imwrite(tmp_path / "turned.tif", pixels, **how)
    upright = [
        pixels,
        pixels[:, ::-1],
        pixels[::-1, ::-1],
        pixels[::-1],
        pixels.T,
        pixels[::-1].T,
        pixels[::-1, ::-1].T,
        pixels[:, ::-1].T,
    ]
    wanted = upright[orientation - 1] / np.iinfo(dtype).max
    assert close(open_picture(tmp_path / "turned.tif"), wanted)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_of_bytes_keeps_its_colours(tmp_path, mode):
    drawn = Image.new("RGB", (WIDTH, HEIGHT), "white")
    ImageDraw.Draw(drawn).rectangle((3, 2, 9, 8), fill="black")
    file = tmp_path / ("drawn.tif" if mode in ("CMYK", "YCbCr") else "drawn.png")
    drawn.convert(mode).save(file)
    assert torch.allclose(open_picture(file), wanted_of(drawn), atol=2 / 255)


def wanted_of(image):
    return torch.from_numpy(np.array(image)).movedim(-1, 0) / 255


def test_a_cmyk_photograph_is_not_inverted(tmp_path):
    red = Image.new("RGB", (16, 16), (255, 0, 0))
    red.convert("CMYK").save(tmp_path / "red.jpg", quality=95)
    assert torch.allclose(open_picture(tmp_path / "red.jpg"), wanted_of(red), atol=0.03)


def test_a_palette_with_a_clear_colour_lies_on_white(tmp_path):
    indexed = Image.new("P", (4, 4), 1)
    indexed.putpalette([0, 0, 0, 255, 0, 0])
    indexed.putpixel((0, 0), 0)
    indexed.save(tmp_path / "indexed.gif", transparency=0)
    picture = open_picture(tmp_path / "indexed.gif")
    assert picture[:, 0, 0].tolist() == [1, 1, 1] and picture[:, 2, 2].tolist() == [1, 0, 0]


def test_a_photograph_with_a_preview_beside_it_is_one_picture(tmp_path):
    red, preview = Image.new("RGB", (16, 16), "red"), Image.new("RGB", (8, 8), "blue")
    red.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[preview])
    assert open_picture(tmp_path / "phone.jpg")[0].mean() > 0.9


# Sixteen bits


def test_a_grey_png_of_16_bits_is_divided_by_65535(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "grey.png")
    assert close(open_picture(tmp_path / "grey.png"), RAMP / 65535)


def test_a_colour_png_of_16_bits_keeps_all_of_them(tmp_path):
    path = png_of(tmp_path / "colours.png", COLOURS, colour_type=2)
    assert close(open_picture(path), COLOURS / 65535)


def test_a_colour_png_of_16_bits_with_alpha_lies_on_white(tmp_path):
    alpha = np.where(RAMP > 30000, 65535, 0).astype(np.uint16)
    alpha[0, :3] = (10000, 20000, 40000)
    path = png_of(tmp_path / "alpha.png", np.dstack([COLOURS, alpha]), colour_type=6)
    share = alpha[..., None] / 65535
    assert close(open_picture(path), COLOURS / 65535 * share + 1 - share)


def test_a_clear_colour_of_a_16_bit_png_is_white(tmp_path):
    key = tuple(int(value) for value in COLOURS[3, 4])
    path = png_of(tmp_path / "key.png", COLOURS, 2, transparency(*key))
    wanted = COLOURS / 65535
    wanted[3, 4] = 1
    assert close(open_picture(path), wanted)
    path = png_of(tmp_path / "grey.png", RAMP, 0, transparency(int(RAMP[3, 4])))
    wanted = RAMP / 65535
    wanted[3, 4] = 1
    assert close(open_picture(path), wanted)


def test_grey_with_alpha_of_16_bits_in_a_png_keeps_its_upper_eight(tmp_path):
    pixels = np.dstack([RAMP, np.full_like(RAMP, 65535)])
    picture = open_picture(png_of(tmp_path / "grey.png", pixels, colour_type=4))
    assert np.abs(picture[0].numpy() - RAMP / 65535).max() <= 1 / 255


def test_a_deep_png_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(RAMP).save(tmp_path / "upright.png", exif=exif)
    assert close(open_picture(tmp_path / "upright.png"), RAMP[:, ::-1].T / 65535)


def test_fewer_bits_than_16_outside_tiff_are_brought_to_them(tmp_path):
    twelve = (RAMP // 16).astype(">u2")
    (tmp_path / "grey.pgm").write_bytes(f"P5 {WIDTH} {HEIGHT} 4095\n".encode() + twelve.tobytes())
    assert np.abs(open_picture(tmp_path / "grey.pgm")[0].numpy() - twelve / 4095).max() < 1e-5
    Image.fromarray(RAMP).save(tmp_path / "grey.jp2")
    assert close(open_picture(tmp_path / "grey.jp2"), RAMP / 65535)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_grey_and_colour_tiffs_of_16_bits_are_divided_by_65535(tmp_path, byteorder, compression):
    how = dict(byteorder=byteorder, compression=compression)
    for name, pixels, kind in (("grey", RAMP, "minisblack"), ("colours", COLOURS, "rgb")):
        tifffile.imwrite(tmp_path / f"{name}.tif", pixels, photometric=kind, **how)
        assert close(open_picture(tmp_path / f"{name}.tif"), pixels / 65535)
    planes = np.moveaxis(COLOURS, 2, 0)
    tifffile.imwrite(tmp_path / "p.tif", planes, photometric="rgb", planarconfig="separate", **how)
    assert close(open_picture(tmp_path / "p.tif"), COLOURS / 65535)


def test_a_grey_tiff_that_only_pillow_unpacks_keeps_its_bits(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "lzw.tif", compression="tiff_lzw")
    assert close(open_picture(tmp_path / "lzw.tif"), RAMP / 65535)


def test_white_is_zero_where_the_file_says_so(tmp_path):
    tifffile.imwrite(tmp_path / "film.tif", RAMP, photometric="miniswhite")
    assert close(open_picture(tmp_path / "film.tif"), 1 - RAMP / 65535)


@pytest.mark.parametrize("tags", [((281, 3, 1, 4095),), ((340, 3, 1, 100), (341, 3, 1, 4095))])
def test_the_declared_range_counts(tmp_path, tags):
    black = 100 if len(tags) == 2 else 0
    pixels = np.clip(RAMP // 16, black, None).astype(np.uint16)
    extra = [(*tag, True) for tag in tags]
    tifffile.imwrite(tmp_path / "camera.tif", pixels, photometric="minisblack", extratags=extra)
    assert close(open_picture(tmp_path / "camera.tif"), (pixels - black) / (4095 - black))


def test_a_value_outside_the_declared_range_is_not_cut_off(tmp_path):
    path = tmp_path / "camera.tif"
    tifffile.imwrite(path, RAMP, photometric="minisblack", extratags=[(281, 3, 1, 4095, True)])
    said = refused(path)
    assert "values from 0 to 65535 (uint16), and declares 0 to 4095" in said
    assert torch.equal(read_by_the_line(said), torch.from_numpy(RAMP.astype(np.float32)))


@pytest.mark.parametrize(("kind", "premultiplied"), [("unassalpha", False), ("assocalpha", True)])
def test_an_alpha_of_16_bits_lies_on_white(tmp_path, kind, premultiplied):
    alpha = np.where(RAMP > 30000, 65535, 0).astype(np.uint16)
    alpha[0, :2] = 32768
    share = alpha[..., None] / 65535
    colours = (COLOURS * share).round().astype(np.uint16) if premultiplied else COLOURS
    pixels = np.dstack([colours, alpha])
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=[kind])
    wanted = COLOURS / 65535 * share + 1 - share
    assert np.abs(open_picture(tmp_path / "a.tif").movedim(0, -1).numpy() - wanted).max() < 1e-4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_grey_with_an_alpha_lies_on_white(tmp_path, dtype):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    grey = (RAMP / 65535 * full).astype(dtype)
    alpha = np.where(RAMP > 30000, full, 0).astype(dtype)
    pixels = np.dstack([grey, alpha])
    how = dict(photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"])
    tifffile.imwrite(tmp_path / "a.tif", pixels, **how)
    assert close(open_picture(tmp_path / "a.tif"), np.where(RAMP > 30000, grey / full, 1))


def test_deep_pictures_are_turned_and_shrunk_as_others_are(tmp_path):
    shallow, deep, turned = tmp_path / "8.tif", tmp_path / "16.tif", [(274, 3, 1, 6, True)]
    small = np.arange(60 * 90, dtype=np.uint16).reshape(60, 90) // 24
    tifffile.imwrite(shallow, small.astype(np.uint8), photometric="minisblack", extratags=turned)
    tifffile.imwrite(deep, 257 * small, photometric="minisblack", extratags=turned)
    assert open_picture(deep, 30).shape == (3, 30, 20)
    assert (open_picture(deep, 30) - open_picture(shallow, 30)).abs().max() < 2 / 255


def test_shrinking_leaves_no_value_outside_0_and_1(tmp_path):
    edge = np.zeros((90, 90), dtype=np.uint16)
    edge[:, 45:] = 65535
    Image.fromarray(edge).save(tmp_path / "edge.png")
    picture = open_picture(tmp_path / "edge.png", longest=31)
    assert picture.min() == 0 and picture.max() == 1


# Floating point


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_floats_in_0_to_1_stay_as_they_are(tmp_path, dtype):
    values = (0.2 + 0.5 * RAMP / 65535).astype(dtype)
    tifffile.imwrite(tmp_path / "unit.tif", values, photometric="minisblack")
    assert close(open_picture(tmp_path / "unit.tif"), values)


def test_other_floats_go_from_the_least_to_the_largest(tmp_path):
    for name, values in (("grey", RAMP - 1000.5), ("colours", COLOURS * 3.0)):
        kind = "minisblack" if values.ndim == 2 else "rgb"
        tifffile.imwrite(tmp_path / "f.tif", values.astype(np.float32), photometric=kind)
        wanted = (values - values.min()) / (values.max() - values.min())
        assert close(open_picture(tmp_path / "f.tif"), wanted), name


def test_a_picture_of_floats_outside_tiff_is_read_too(tmp_path):
    header = f"Pf\n{WIDTH} {HEIGHT}\n-1.0\n".encode()
    values = RAMP.astype("<f4") / 65535
    (tmp_path / "grey.pfm").write_bytes(
        header + values[::-1].tobytes()
    )  # from below, as PFM has it
    assert close(open_picture(tmp_path / "grey.pfm"), values)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, bad):
    values = RAMP.astype(np.float32)
    values[2, 3] = bad
    tifffile.imwrite(tmp_path / "holes.tif", values, photometric="minisblack")
    said = refused(tmp_path / "holes.tif")
    assert "numbers (float32) of which 1 are infinite or NaN" in said
    assert torch.equal(read_by_the_line(said).isfinite(), torch.from_numpy(np.isfinite(values)))


def test_one_value_everywhere_has_no_range(tmp_path):
    tifffile.imwrite(
        tmp_path / "flat.tif", np.full((5, 6), 7, np.float32), photometric="minisblack"
    )
    assert "the value 7 (float32) everywhere" in refused(tmp_path / "flat.tif")
    tifffile.imwrite(tmp_path / "grey.tif", np.full((5, 6), 0.5, np.float32))
    assert (open_picture(tmp_path / "grey.tif") == 0.5).all()


# What is no picture


def refused(path):
    """What is said of a file that is refused: one sentence."""
    with pytest.raises(DataError) as caught:
        open_picture(path)
    said = str(caught.value)
    assert "\n" not in said and said.endswith(".") and str(path) in said
    return said


def read_by_the_line(said):
    """What the line of code in a refusal reads."""
    (line,) = re.findall("`(.+)`", said)
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imageio's, of what a later version will need
        exec(line, names)
    return names["values"]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("pages", [2, 3, 4])
@pytest.mark.parametrize("how", [{}, {"imagej": True}, {"ome": True}])
def test_a_stack_is_no_colour(tmp_path, dtype, pages, how):
    stack = (np.arange(pages * HEIGHT * WIDTH) % 251).astype(dtype).reshape(pages, HEIGHT, WIDTH)
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="minisblack", **how)
    said = refused(tmp_path / "stack.tif")
    found = f"{pages} pages of {HEIGHT} x {WIDTH} pixels ({np.dtype(dtype).name})"
    assert f"holds {found} and not one picture" in said
    assert torch.equal(read_by_the_line(said), torch.from_numpy(stack.astype(np.float32)))


def test_a_stack_of_colours_comes_with_its_channels_first(tmp_path):
    stack = np.stack([COLOURS, COLOURS[::-1]])
    tifffile.imwrite(tmp_path / "stack.tif", stack, photometric="rgb")
    values = read_by_the_line(refused(tmp_path / "stack.tif"))
    assert torch.equal(values, torch.from_numpy(stack.astype(np.float32)).movedim(-1, 1))


def test_pages_of_several_sizes_come_as_a_list(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        file.write(RAMP, photometric="minisblack")
        file.write(RAMP[:5], photometric="minisblack")
    first, second = read_by_the_line(refused(tmp_path / "pages.tif"))
    assert first.shape == (HEIGHT, WIDTH) and second.shape == (5, WIDTH)


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_an_animation_is_a_stack_too(tmp_path, suffix):
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue", "white")]
    frames[0].save(
        tmp_path / f"moves.{suffix}", save_all=True, append_images=frames[1:], lossless=True
    )
    said = refused(tmp_path / f"moves.{suffix}")
    assert f"3 pages of {HEIGHT} x {WIDTH} pixels" in said
    values = read_by_the_line(said)
    assert values.shape == (3, 3, HEIGHT, WIDTH) and values[1].mean(dim=(1, 2)).tolist() == [
        0,
        0,
        255,
    ]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("bands", [2, 4, 5, 8])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_bands_that_are_no_colours_are_refused(tmp_path, dtype, bands, planarconfig):
    cube = (np.arange(bands * HEIGHT * WIDTH) % 251).astype(dtype).reshape(bands, HEIGHT, WIDTH)
    pixels = np.moveaxis(cube, 0, -1) if planarconfig == "contig" else cube
    tifffile.imwrite(
        tmp_path / "field.tif", pixels, photometric="minisblack", planarconfig=planarconfig
    )
    said = refused(tmp_path / "field.tif")
    assert (
        f"{bands} bands ({np.dtype(dtype).name}, MINISBLACK) that are no grey and no colours here"
        in said
    )
    assert torch.equal(read_by_the_line(said), torch.from_numpy(cube.astype(np.float32)))


def test_a_fourth_band_that_nobody_calls_alpha_is_not_dropped(tmp_path):
    pixels = np.dstack([COLOURS, RAMP]).astype(np.uint8)
    how = dict(photometric="rgb", extrasamples=["unspecified"])
    tifffile.imwrite(tmp_path / "field.tif", pixels, **how)
    assert "4 bands (uint8, RGB) that are no grey and no colours here" in refused(
        tmp_path / "field.tif"
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["tif", "png"])
def test_a_fourth_band_that_is_called_alpha_and_is_data_is_refused(tmp_path, dtype, suffix):
    pixels = np.dstack([COLOURS, RAMP.T.reshape(HEIGHT, WIDTH)])
    pixels = (pixels // 257).astype(dtype) if dtype == np.uint8 else pixels
    path = tmp_path / f"field.{suffix}"
    if suffix == "tif":
        tifffile.imwrite(path, pixels, photometric="rgb", extrasamples=["unassalpha"])
    elif dtype == np.uint8:
        Image.fromarray(pixels).save(path)
    else:
        png_of(path, pixels, colour_type=6)
    said = refused(path)
    values = len(np.unique(pixels[..., 3]))
    name = np.dtype(dtype).name
    assert f"4 bands ({name}), the last of which is declared alpha and has {values} values" in said
    found = read_by_the_line(said).movedim(0, -1).numpy()
    if suffix == "png" and dtype == np.uint16:
        pixels = pixels // 256  # what Pillow reads
    assert np.array_equal(found, pixels)


def test_an_alpha_of_few_values_or_with_soft_edges_stays_one(tmp_path):
    soft = np.where(RAMP > 30000, 255, 0).astype(np.uint8)
    soft[5] = np.arange(WIDTH) * 12
    for alpha in (np.full_like(soft, 128), soft):
        pixels = np.dstack([np.zeros((HEIGHT, WIDTH, 3), np.uint8), alpha])
        Image.fromarray(pixels).save(tmp_path / "a.png")
        assert close(open_picture(tmp_path / "a.png"), 1 - alpha / 255)


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.uint32])
def test_integers_without_a_black_and_a_white_are_refused(tmp_path, dtype):
    values = (RAMP // 600).astype(dtype)
    tifffile.imwrite(tmp_path / "ct.tif", values, photometric="minisblack")
    said = refused(tmp_path / "ct.tif")
    assert f"numbers ({np.dtype(dtype).name}) of which nothing says which are black" in said
    assert torch.equal(read_by_the_line(said), torch.from_numpy(values.astype(np.float32)))


def test_a_dicom_file_is_refused_and_its_line_gives_hounsfield_units(tmp_path):
    stored = (RAMP // 30).astype(np.int16)
    path = dicom_of(tmp_path / "ct.dcm", stored, slope=2, intercept=-1024)
    said = refused(path)
    assert f"a DICOM picture of {HEIGHT} x {WIDTH} numbers" in said and "needs a window" in said
    units = read_by_the_line(said)
    assert torch.equal(units, torch.from_numpy(2.0 * stored - 1024).float())
    picture = ((units + 160) / 400).clamp(0, 1)
    assert picture[units <= -160].max() == 0 and picture[units >= 240].min() == 1


def test_a_compressed_dicom_file_says_what_reads_it(tmp_path):
    path = dicom_of(tmp_path / "ct.dcm", RAMP.astype(np.int16), syntax="1.2.840.10008.1.2.4.70")
    assert "pip install pydicom" in refused(path)


def test_a_kind_of_deep_colours_that_is_not_known_is_refused(tmp_path):
    ink = np.dstack([COLOURS, RAMP])
    tifffile.imwrite(tmp_path / "ink.tif", ink, photometric="separated")
    assert "4 bands (uint16, SEPARATED) of a kind that is shown in eight bits alone" in refused(
        tmp_path / "ink.tif"
    )


def test_too_many_pixels_are_refused_before_they_are_read(tmp_path, monkeypatch):
    Image.fromarray(RAMP).save(tmp_path / "grey.tif")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", HEIGHT * WIDTH // 2 - 1)
    assert "too many to show" in refused(tmp_path / "grey.tif")


def test_the_examples_in_the_modules_docstring_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cube = np.arange(4 * HEIGHT * WIDTH, dtype=np.uint16).reshape(4, HEIGHT, WIDTH)
    tifffile.imwrite("cells.tif", cube, photometric="minisblack")
    tifffile.imwrite("field.tif", cube, photometric="minisblack", planarconfig="separate")
    dicom_of(Path("ct.dcm"), (RAMP // 30).astype(np.int16), intercept=-1024)
    names, pictures = {"torch": torch, "tifffile": tifffile, "imageio": imageio}, []
    for line in re.findall(">>> (.+)", pictures_module.__doc__):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # imageio's, of what a later version will need
            exec(line, names)
        if line.startswith("picture"):
            pictures.append(names["picture"])
    stack, field, slice_ = pictures
    assert torch.allclose(stack, torch.from_numpy(cube[3] / cube.max()).float())
    wanted = cube[[3, 2, 1]] / cube[1:].max()
    assert torch.allclose(field, torch.from_numpy(wanted).float())
    units = RAMP // 30 - 1024.0
    wanted = torch.from_numpy(np.interp(units, [-160, 240], [0, 1])).float()
    assert torch.allclose(slice_, wanted, atol=1e-6)


# Damaged files


def test_what_is_no_picture_is_said_in_one_sentence(tmp_path):
    (tmp_path / "words.png").write_text("words")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "start.tif").write_bytes(b"II*\0")
    (tmp_path / "medical.dcm").write_bytes(b"\0" * 128 + b"DICM")
    for name in ("words.png", "empty.png", "start.tif", "medical.dcm"):
        refused(tmp_path / name)
    with pytest.raises(DataError, match="There is no file"):
        open_picture(tmp_path / "none.png")
    with pytest.raises(DataError, match="There is no file"):
        open_picture(tmp_path)


@pytest.mark.parametrize("name", ["8.png", "16.png", "8.jpg", "8.tif", "16.tif", "deflated.tif"])
def test_a_file_that_ends_too_early_is_refused(tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 65536, (60, 80)).astype(np.uint16)
    pixels = noise if "16" in name or "deflated" in name else noise.astype(np.uint8)
    path = tmp_path / name
    if name in ("16.tif", "deflated.tif"):
        compression = "zlib" if name == "deflated.tif" else None
        tifffile.imwrite(path, pixels, photometric="minisblack", compression=compression)
    else:
        Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    assert open_picture(path).shape == (3, 60, 80)
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be read as a picture" in refused(path)
