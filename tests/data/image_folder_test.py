# SPDX-License-Identifier: Apache-2.0
"""Image folders: what is read, skipped and refused."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from folders import assert_equal, entries, refused, splits
from PIL import Image

from nnlab.data import Dataset, image_folder, load

SIZE = 8


@pytest.fixture
def folder(tmp_path):
    """Makes two classes of six colour images each, 8 x 8, which need no resizing."""
    root = tmp_path / "pets"
    fill(root, "train")
    return root


def pixels(seed, shape=(SIZE, SIZE, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def fill(root, part=".", count=6, first=0):
    for c, label in enumerate(("cat", "dog")):
        for i in range(count):
            save(root / part / label / f"{i}.png", pixels(first + 100 * c + i))


def arrays(count=6, first=0):
    """Returns what `fill` made, as Dataset.from_arrays takes it."""
    seeds = [first + 100 * c + i for c in range(2) for i in range(count)]
    return np.array([pixels(seed) for seed in seeds]), np.repeat([0, 1], count)


def read(folder, size=SIZE):
    return load(f"folder:{folder}:{size}")


def number(data):
    return sum(len(split.labels) for split in splits(data))


def only(folder, file, size=SIZE):
    """Returns the pixels of the one image that a class has beside the others'."""
    data, hidden = read(folder, size), file.with_name(".hidden")
    file.rename(hidden)
    without = {
        x.tobytes() for split in splits(read(folder, size)) for x in split.inputs
    }
    hidden.rename(file)
    (found,) = [x for s in splits(data) for x in s.inputs if x.tobytes() not in without]
    return found


@pytest.mark.parametrize(
    ("part", "test"), [(".", ""), ("train", ""), ("train", "test")]
)
def test_images_of_the_size_asked_for_are_what_the_files_hold(tmp_path, part, test):
    fill(tmp_path / "pets", part)
    (images, labels), tests = arrays(), {}
    if test:
        fill(tmp_path / "pets", test, count=2, first=50)
        tests = dict(zip(("test_inputs", "test_labels"), arrays(2, first=50)))
    data = read(tmp_path / "pets")
    names = ("cat", "dog")
    assert_equal(data, Dataset.from_arrays(images, labels, **tests, class_names=names))
    assert data.name == f"folder:{tmp_path / 'pets'}:8"
    assert not data.is_table


def test_size_is_64_by_default_and_the_whole_image_is_kept(folder):
    wide = np.zeros((30, 90, 3), np.uint8)
    wide[:, :30] = 255  # the left third, also of the square
    file = save(folder / "train/cat" / "wide.png", wide)
    assert load(f"folder:{folder}").input_shape == (64, 64, 3)
    found = only(folder, file, 48)
    assert (found[:, :15] == 255).all()
    assert (found[:, 17:] == 0).all()


def test_large_jpegs_are_resized_as_if_decoded_whole(folder):
    file, smooth = (
        folder / "train/cat" / "a.jpg",
        Image.fromarray(pixels(1, (12, 12, 3))),
    )
    smooth.resize((240, 180)).save(file, quality=95)
    found = only(folder, file, 32)
    with Image.open(file) as whole:
        expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR))
    assert np.abs(found.astype(int) - expected).max() <= 5


@pytest.mark.parametrize("mode", ["1", "L", "LA"])
def test_one_channel_if_all_are_grey(tmp_path, mode):
    folder = tmp_path / "grey"
    for c in "ab":
        (folder / c).mkdir(parents=True)
        for i in range(6):
            image = Image.fromarray(pixels(i + ord(c), (SIZE, SIZE)))
            image.convert(mode).save(folder / c / f"{i}.png")
    data = read(folder)
    assert data.input_shape == (SIZE, SIZE, 1)
    if mode == "L":
        found = {x.tobytes() for split in splits(data) for x in split.inputs}
        assert pixels(ord("a"), (SIZE, SIZE)).tobytes() in found
    save(folder / "a" / "colour.png", pixels(0))
    assert read(folder).input_shape == (SIZE, SIZE, 3)


def test_transparent_parts_are_black(folder):
    array = np.full((SIZE, SIZE, 4), 200, np.uint8)
    array[:4, :, 3], array[4:, :, 3] = 0, 255
    found = only(folder, save(folder / "train/cat" / "x.png", array))
    assert (found[:4] == 0).all()
    assert (found[4:] == 200).all()


def test_palette_images_are_converted_without_a_warning(folder):
    palette = Image.fromarray(pixels(5)).quantize(4)
    palette.info["transparency"] = bytes([255, 255, 0, 255])
    file = folder / "train/cat" / "p.png"
    palette.save(file)
    colours = {tuple(c) for c in only(folder, file).reshape(-1, 3)}
    assert len(colours) == 4
    assert (0, 0, 0) in colours


def test_images_are_turned_upright(folder):
    array = np.zeros((SIZE, SIZE, 3), np.uint8)
    array[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    found = only(folder, save(folder / "train/cat" / "x.png", array, exif=exif))
    assert (found[:, -1] == 255).all()
    assert (found[:, :-1] == 0).all()


def test_odd_metadata_are_no_matter(folder):
    odd = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\0\0\0\xff\0\0\0"
    save(folder / "train/cat" / "x.jpg", pixels(0), exif=odd)
    assert number(read(folder)) == 13


def test_what_is_not_read_is_named_and_counted(folder, caplog):
    before = read(folder)
    assert before.notes == ()
    for file in (".DS_Store", "notes.txt", "train/labels.csv", "train/cat/._0.png"):
        (folder / file).write_text("x")
    (folder / "train" / "dog" / "Thumbs.db").write_text("x")
    (folder / "__MACOSX" / "train").mkdir(parents=True)
    (folder / "__MACOSX" / "train" / "._cat").touch()
    after = read(folder)
    assert_equal(after, before)
    (note,) = after.notes
    for words in ("5 files and 1 folder", "__MACOSX with 1 file", "3 more"):
        assert words in note
    assert note in caplog.text
    assert read(folder).notes == after.notes  # from the cache, too
    save(folder / "valid" / "cat" / "0.png", pixels(3))
    assert "valid with 1 file" in " ".join(read(folder).notes)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *(("a.jfif", "JPEG"), ("a.JPE", "JPEG"), ("a.pgm", "PPM"), ("a.tga", "TGA")),
        *(("a.webp", "WEBP"), ("a.dib", "DIB"), ("a.pcx", "PCX"), ("a.tif", "TIFF")),
        *(("a.bmp", "BMP"), ("a.gif", "GIF"), ("a.jp2", "JPEG2000"), ("a.ico", "ICO")),
        *(("0001", "PNG"), ("a.png", "GIF"), ("a.heic", "JPEG"), ("a.txt", "WEBP")),
        *(("a.sgi", "SGI"), ("a.JPG", "PNG"), ("A.JPEG", "JPEG")),
    ],
)
def test_what_pillow_opens_is_read_whatever_its_name(folder, name, form):
    file = folder / "train/cat" / name
    Image.fromarray(pixels(50)).resize((32, 32)).save(file, form)
    data = read(folder)
    assert number(data) == 13
    assert data.notes == ()


def test_odd_images_are_pointed_out(folder):
    clear = np.zeros((SIZE, SIZE, 4), np.uint8)
    clear[2:5, 2:5, 3] = 255  # black on a transparent ground
    save(folder / "train/cat" / "icon.png", clear)
    solid = np.dstack([pixels(5), np.full((SIZE, SIZE), 255, np.uint8)])
    save(folder / "train/cat" / "solid.png", solid)
    first, *rest = (Image.fromarray(pixels(seed)) for seed in (1, 2, 3))
    first.save(folder / "train/dog/moves.gif", save_all=True, append_images=rest)
    notes = read(folder).notes
    said = dict(note.split(": ", 1) for note in notes)
    icon = f"1 file ({Path('train') / 'cat' / 'icon.png'})"
    assert said["transparent, laid over black"] == said["of one colour only"] == icon
    assert "moves.gif" in said["of several pictures the first is read"]
    assert read(folder).notes == notes  # from the cache, too


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "test"), ("train",)])
def test_parts_are_told_by_name_in_upper_or_lower_case(tmp_path, names):
    for name in names:
        fill(tmp_path, name, count=8)
    data = read(tmp_path)
    assert data.class_names == ("cat", "dog")
    assert len(data.test.labels) == (16 if len(names) == 2 else 4)


def test_a_class_may_be_called_train(tmp_path):
    fill(tmp_path / "seen")
    os.rename(tmp_path / "seen" / "cat", tmp_path / "seen" / "train")
    assert read(tmp_path / "seen").class_names == ("dog", "train")


def test_two_spellings_of_a_name_are_one_class(tmp_path):
    composed = "caf\u00e9"
    for part, label in (("train", composed), ("test", "cafe\u0301")):
        fill(tmp_path, part)
        os.rename(tmp_path / part / "cat", tmp_path / part / label)
    assert read(tmp_path).class_names == (composed, "dog")


def test_a_link_that_stays_inside_is_followed(folder):
    os.rename(folder / "train" / "cat", folder / ".cats")
    (folder / "train" / "cat").symlink_to(folder / ".cats")
    (folder / "train" / "dog" / "link.png").symlink_to("../../.cats/0.png")
    images, labels = arrays()
    images, labels = np.concatenate([images, images[:1]]), np.append(labels, 1)
    expected = Dataset.from_arrays(images, labels, class_names=("cat", "dog"))
    assert_equal(read(folder), expected)


def png_header(width, height):
    """Makes a PNG of a few bytes that claims to be large."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = b"IDAT" + zlib.compress(bytes(100))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for chunk in (head, data, b"IEND"):
        parts += [struct.pack(">I", len(chunk) - 4), chunk]
        parts.append(struct.pack(">I", zlib.crc32(chunk)))
    return b"".join(parts)


@pytest.mark.parametrize("cut", [0, 4, 60, -40, -200])
@pytest.mark.parametrize("name", ["x.png", "x.jpg"])
def test_damaged_image_is_named(folder, cut, name):
    file = save(folder / "train/cat" / name, pixels(0, (40, 40, 3)))
    file.write_bytes(file.read_bytes()[:cut])
    with refused(ValueError, file, "damaged"):
        read(folder)


@pytest.mark.parametrize("name", ["x.png", "x", "x.eps"])
def test_no_other_program_is_started_for_an_image(folder, name):
    file = folder / "train/cat" / name
    Image.fromarray(pixels(0)).save(file, format="EPS")
    if name == "x":
        assert "x" in " ".join(read(folder).notes)
    else:
        with refused(ValueError, file, "convert it"):
            read(folder)


@pytest.mark.parametrize("side", [9_460, 30_000])
@pytest.mark.parametrize(
    ("name", "pillow"), [("x.png", None), ("x.png", 89_478_485), ("x", 89_478_485)]
)
def test_an_image_that_claims_too_much_is_never_decoded(
    folder, monkeypatch, side, name, pillow
):
    """Pillow would warn, or raise, or its limit was removed."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pillow)
    monkeypatch.setattr(image_folder, "_resized", None)
    file = folder / "train/cat" / name
    file.write_bytes(png_header(side, side))
    with refused(ValueError, file, "more than 89,478,485 pixels"):
        read(folder)
    with refused(ValueError, "is not in the folder of a class"):
        read(file.rename(folder / "train" / name).parents[1])


def test_too_many_bytes_are_refused_before_decoding(folder, monkeypatch):
    monkeypatch.setattr(image_folder, "_MOST_BYTES", 12 * 64 * 64 * 3 - 1)
    monkeypatch.setattr(image_folder, "_resized", None)
    with refused(ValueError, folder, "12 images of 64 x 64 x 3", "smaller size"):
        read(folder, 64)


def test_links_that_lead_out_or_nowhere_are_refused(folder, tmp_path):
    outside = save(tmp_path / "outside" / "0.png", pixels(0))
    for link, target, words in (
        (folder / "train/cat" / "x.png", outside, "leads out of"),
        (folder / "train" / "eel", outside.parent, "leads out of"),
        (folder / "test", folder.parent / "outside", "leads out of"),
        (folder / "train/cat" / "x.png", "../../../pets2", "leads out of"),
        (folder / "train/cat" / "x.png", "absent.png", "leads nowhere"),
        (folder / "train/cat" / "x.png", "x.png", "leads nowhere"),
    ):
        link.symlink_to(target)
        with refused(ValueError, link, words):
            read(folder)
        link.unlink()
    read(folder)


def few(root):
    for file in root.glob("train/*/[012].png"):
        file.unlink()


def lacking(root):
    for label in ("cat", "eel"):
        save(root / "test" / label / "x.png", pixels(0))


def to(old, new):
    return lambda root: os.rename(root / old, root / new)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda root: (root / "train/cat/more").mkdir(), "train/cat/more is a folder"),
        (lambda root: (root / "train/eel").mkdir(), "train/eel holds no image"),
        (
            lambda root: save(root / "train/x.PNG", pixels(0)),
            "train/x.PNG is not in the folder of a class",
        ),
        (
            lambda root: (root / "train/cat/x.WebP").touch(),
            "x.WebP is damaged, or no image",
        ),
        (
            lambda root: (root / "train/cat/x.HEIC").write_text("no JPEG in disguise"),
            "x.HEIC: .heic images are not read; convert it to PNG",
        ),
        (
            lambda root: save(root / "train/cat/x.png", np.uint16(pixels(0)[..., 0])),
            "x.png has more than 8 bits",
        ),
        (lambda root: fill(root, "Train"), "Train and train"),
        (
            lambda root: os.mkfifo(root / "train/cat/x.png"),
            "x.png is not a regular file",
        ),
        (to("train", "test"), "none named train"),
        (lacking, "test lacks the class 'dog'"),
        (to("train/dog", ".dog"), "only the class folder cat: at least 2"),
        (to("train", ".train"), "no class folder: at least 2"),
        (few, "4 training examples are too few"),
        (to("train/dog", "train/d\nog"), "'d\\nog'"),
    ],
)
def test_another_layout_is_refused_in_one_line(folder, change, words):
    change(folder)
    with refused(ValueError, folder, words):
        read(folder)


@pytest.mark.parametrize("size", ["7", "513", "0", "-8", "8.0", "x", "٨"])
def test_size_out_of_range(folder, size):
    with refused(ValueError, size, "pixels"):
        read(folder, size)


def test_missing_folder(folder, tmp_path):
    with refused(FileNotFoundError, tmp_path / "absent", "does not exist"):
        read(tmp_path / "absent")
    with refused(FileNotFoundError, "is not a folder"):
        read(folder / "train/cat" / "0.png")


def test_cache_serves_what_the_files_hold(folder, tmp_path, monkeypatch):
    first = read(folder)
    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_decode", None)
        assert_equal(read(folder), first)
    assert read(folder, 9).input_shape == (9, 9, 3)
    save(folder / "train/cat" / "0.png", pixels(77))
    assert read(folder).digest != first.digest
    assert len(entries(tmp_path)) == 3


def test_cache_tells_links_of_other_names_apart(folder):
    found = []
    for a, b in (("dog", "cat"), ("cat", "dog")):
        for name, target in (("a", a), ("b", b)):
            (folder / "train" / name).unlink(missing_ok=True)
            (folder / "train" / name).symlink_to(target)
        found.append(read(folder).digest)
    assert found[0] != found[1]


def test_a_file_that_cannot_be_opened_is_named(folder, monkeypatch):
    def denied(file, **options):
        raise PermissionError(13, "Permission denied", str(file))

    monkeypatch.setattr(Image, "open", denied)
    with refused(FileNotFoundError, "train/cat/0.png", "Permission denied"):
        read(folder)
