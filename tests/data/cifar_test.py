# SPDX-License-Identifier: Apache-2.0
"""The CIFAR-10 sources: six files, their archive, TFDS; all on small copies."""

import gzip
import hashlib
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from folders import (
    assert_equal,
    change,
    entries,
    little_memory,
    publish_at,
    refused,
    serving,
    splits,
    write_files,
)

from nnlab.data import cifar, load, sources

# Ten classes; a batch has 20 records, the test file has 20.
TRAIN_EACH, TEST_EACH = 10, 2
RECORD = 1 + 32 * 32 * 3
PLACES = ("", "cifar10", "cifar-10-batches-bin", "cifar10/cifar-10-batches-bin")


@pytest.fixture
def images():
    """Draws images (120, 32, 32, 3) and labels; the last 20 are the test set."""
    rng = np.random.default_rng(0)
    labels = np.concatenate(
        [rng.permutation(np.repeat(np.arange(10), n)) for n in (TRAIN_EACH, TEST_EACH)]
    )
    return rng.integers(0, 256, (120, 32, 32, 3)).astype(np.uint8), labels


@pytest.fixture
def cifar10(monkeypatch, images):
    """Replaces the publication by a small one; returns contents by file name."""
    records = [bytes([y]) + x.transpose(2, 0, 1).tobytes() for x, y in zip(*images)]
    contents = {
        file: b"".join(records[20 * i : 20 * (i + 1)])
        for i, file in enumerate(cifar.FILES)
    }
    small = {"num_train": 10 * TRAIN_EACH, "num_test": 10 * TEST_EACH}
    digest = hashlib.sha256(archive(contents)).hexdigest()
    change(monkeypatch, "cifar10", sha256={cifar.ARCHIVE: digest}, **small)
    return contents


def member(name, **fields):
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def archive(contents, *others):
    """Makes a tar.gz of files in the usual folder, between other members."""
    plain = io.BytesIO()
    files = [(member(f"{cifar.FOLDER}/{file}"), c) for file, c in contents.items()]
    with tarfile.open(fileobj=plain, mode="w") as made:
        for info, content in (*others, *files, *others):
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), mtime=0)


def write_archive(root, monkeypatch, content):
    """Writes an archive and publishes its digest."""
    digest = hashlib.sha256(content).hexdigest()
    change(monkeypatch, "cifar10", sha256={cifar.ARCHIVE: digest})
    return write_files(root, {cifar.ARCHIVE: content})


# Equal arrays from every source


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("packed", [False, True])
def test_files_and_archive_in_every_place(tmp_path, cifar10, images, place, packed):
    contents = {cifar.ARCHIVE: archive(cifar10)} if packed else cifar10
    write_files(tmp_path / "data" / place, contents)
    data = load("cifar10", data_dir=tmp_path / "data")
    assert [len(s.labels) for s in splits(data)] == [84, 16, 20]
    assert data.input_shape == (32, 32, 3)
    assert data.scale == 1 / 255
    assert data.class_names[3] == "cat"
    # Each image with its label; its planes are put together as they were made.
    found = [
        {(x.tobytes(), y) for x, y in zip(s.inputs, s.labels)} for s in splits(data)
    ]
    made = [(x.tobytes(), y) for x, y in zip(*images)]
    assert set.union(*found) == {*made}
    assert found[2] == {*made[100:]}


def test_complete_files_are_preferred_and_the_archive_completes(tmp_path, cifar10):
    root = write_files(tmp_path / "data", cifar10 | {cifar.ARCHIVE: b"never read"})
    first = load("cifar10", data_dir=root)
    (root / cifar.TEST).unlink()
    with refused(ValueError, root / cifar.ARCHIVE, "sha256"):
        load("cifar10", data_dir=root)
    write_files(root / "cifar10", {cifar.ARCHIVE: archive(cifar10)})
    assert_equal(load("cifar10", data_dir=root), first)


def test_download_prepares_what_the_files_hold_as_stock_tfds_would(
    tmp_path, cifar10, monkeypatch, capfd
):
    import tensorflow_datasets as tfds

    from_files = load("cifar10", data_dir=write_files(tmp_path / "data", cifar10))
    served = write_files(tmp_path / "served", {cifar.ARCHIVE: archive(cifar10)})
    with serving(served) as port:
        publish_at(monkeypatch, "cifar10", port)
        assert_equal(load("cifar10"), from_files)
    root = tmp_path / "cache" / "data"
    made = root / "cifar10" / "3.0.2"
    assert json.loads((made / "dataset_info.json").read_text())["name"] == "cifar10"
    shutil.rmtree(tmp_path / "cache" / "arrays")
    assert_equal(load("cifar10", data_dir=root), from_files)
    assert [p for p in (root / "downloads").rglob("*") if p.is_file()] == []
    assert capfd.readouterr() == ("", "")
    builder = tfds.builder_from_directory(made)
    assert tuple(builder.info.features["label"].names) == from_files.class_names
    decoders = {"image": tfds.decode.SkipDecoding()}
    examples = builder.as_data_source(split="test", decoders=decoders)
    ids = sorted(examples[i]["id"].decode() for i in range(len(examples)))
    assert ids == [f"test_{i:05d}" for i in range(20)]


def test_prepared_directory_out_of_balance_is_refused(tmp_path, cifar10, monkeypatch):
    content = archive(cifar10 | {cifar.TEST: unbalanced(cifar10[cifar.TEST])})
    served = write_archive(tmp_path / "served", monkeypatch, content)
    with serving(served) as port, monkeypatch.context() as patch:
        change(patch, "cifar10", balanced=False)
        publish_at(patch, "cifar10", port)
        load("cifar10")
    root = shutil.copytree(tmp_path / "cache" / "data", tmp_path / "own")
    with refused(ValueError, root / "cifar10" / "3.0.2", "test examples", "expected 2"):
        load("cifar10", data_dir=root)


def relabelled(content, position, label):
    cut = position * RECORD
    return content[:cut] + bytes([label]) + content[cut + 1 :]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("file", "damage", "words"),
    [
        (cifar.TRAIN[2], lambda c: c[:-1], ["cut short", f"{20 * RECORD:,} bytes"]),
        (cifar.TRAIN[4], lambda c: b"", ["cut short"]),
        (cifar.TEST, lambda c: c + b".", ["too long", f"{20 * RECORD:,} bytes"]),
        (cifar.TEST, lambda c: c * 2, ["too long"]),
        (
            cifar.TRAIN[0],
            lambda c: relabelled(c, 7, 10),
            ["label 10", "position 7", "0 to 9"],
        ),
        (cifar.TEST, lambda c: relabelled(c, 19, 255), ["label 255", "position 19"]),
    ],
)
def test_damaged_file_is_refused_in_one_line(
    tmp_path, cifar10, monkeypatch, packed, file, damage, words
):
    contents = cifar10 | {file: damage(cifar10[file])}
    if packed:
        root = write_archive(tmp_path / "data", monkeypatch, archive(contents))
        place = f"cifar-10-batches-bin/{file} in {root / cifar.ARCHIVE}"
    else:
        root = write_files(tmp_path / "data", contents)
        place = root / file
    with refused(ValueError, place, *words):
        load("cifar10", data_dir=root)


def unbalanced(content):
    return relabelled(content, 0, (content[0] + 1) % 10)


@pytest.mark.parametrize(
    ("file", "changed", "words"),
    [
        (cifar.TRAIN[1], lambda files: unbalanced(files[cifar.TRAIN[1]]), "train"),
        (cifar.TEST, lambda files: unbalanced(files[cifar.TEST]), "test"),
        (cifar.TRAIN[0], lambda files: files[cifar.TRAIN[1]], "train"),  # twice
    ],
)
def test_classes_out_of_balance_are_refused(tmp_path, cifar10, file, changed, words):
    root = write_files(tmp_path / "data", cifar10 | {file: changed(cifar10)})
    with refused(ValueError, root, "not the real cifar10", f"{words} examples"):
        load("cifar10", data_dir=root)


def test_missing_file_is_named(tmp_path, cifar10):
    folder = write_files(tmp_path / "data" / PLACES[-1], cifar10)
    (folder / cifar.TRAIN[3]).unlink()
    (folder / cifar.TEST).unlink()
    words = ["lacks", "cifar10: data_batch_4.bin, test_batch.bin"]
    with refused(FileNotFoundError, folder, *words):
        load("cifar10", data_dir=tmp_path / "data")


def test_empty_folder_is_told_what_was_looked_for(tmp_path):
    words = (*PLACES[1:], *cifar.FILES, cifar.ARCHIVE, "cifar10/3.0.2/", "--data_dir")
    with refused(FileNotFoundError, f"no cifar10 in {tmp_path}", *words):
        load("cifar10", data_dir=tmp_path)


def test_changed_archive_is_not_opened(tmp_path, cifar10, monkeypatch):
    content = bytearray(archive(cifar10))
    content[4] ^= 1  # the time in gzip's header changes no member
    root = write_files(tmp_path / "data", {cifar.ARCHIVE: bytes(content)})
    expected = sources.PUBLICATIONS["cifar10"].sha256[cifar.ARCHIVE]
    monkeypatch.setattr(tarfile, "open", None)
    with refused(ValueError, root / cifar.ARCHIVE, "not the real cifar10", expected):
        load("cifar10", data_dir=root)


def link(kind):
    return member(f"{FOLDER}/{cifar.TEST}", type=kind, linkname="/etc/passwd")


FOLDER = cifar.FOLDER


@pytest.mark.parametrize(
    ("info", "content"),
    [
        (link(tarfile.SYMTYPE), b""),
        (link(tarfile.LNKTYPE), b""),
        (link(tarfile.CHRTYPE), b""),
        (member(FOLDER, type=tarfile.DIRTYPE), b""),
        (member(f"../{cifar.TEST}"), b"bad"),
        (member(f"/{FOLDER}/{cifar.TEST}"), b"bad"),
        (member(f"{FOLDER}/../{cifar.TEST}"), b"bad"),
        (member(cifar.TEST), b"bad"),
        (member(f"{FOLDER}/batches.meta.txt"), b"cat"),
        (member(f"{FOLDER}/zeros"), bytes(3_000_000)),
    ],
)
def test_other_members_of_an_archive_are_passed_over(
    tmp_path, cifar10, monkeypatch, info, content
):
    expected = load("cifar10", data_dir=write_files(tmp_path / "files", cifar10))
    root = tmp_path / "data"
    write_archive(root, monkeypatch, archive(cifar10, (info, content)))
    before = sorted(tmp_path.rglob("*"))
    assert_equal(load("cifar10", data_dir=root), expected)
    made = set(tmp_path.rglob("*")) - set(before)
    assert {path.parent.name for path in made} <= {"arrays"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_link_in_place_of_a_file_is_refused(tmp_path, cifar10, monkeypatch, kind):
    rest = {f: c for f, c in cifar10.items() if f != cifar.TEST}
    root = tmp_path / "data"
    write_archive(root, monkeypatch, archive(rest, (link(kind), b"")))
    with refused(ValueError, root / cifar.ARCHIVE, "lacks", cifar.TEST):
        load("cifar10", data_dir=root)


@pytest.mark.parametrize("packed", [False, True])
def test_no_more_is_read_than_a_file_has(tmp_path, cifar10, monkeypatch, packed):
    large = cifar10 | {cifar.TEST: bytes(50_000_000)}
    if packed:
        root = write_archive(tmp_path / "data", monkeypatch, archive(large))
    else:
        root = write_files(tmp_path / "data", large)
    del large
    with little_memory(10_000_000), refused(ValueError, cifar.TEST, "too long"):
        load("cifar10", data_dir=root)


@pytest.mark.parametrize(
    "content",
    [b"", b"no archive", gzip.compress(b"no tar", mtime=0), None],
    ids=["empty", "other", "gzip", "cut"],
)
def test_what_is_no_archive_is_refused(tmp_path, cifar10, monkeypatch, content):
    content = archive(cifar10)[:-5000] if content is None else content
    root = write_archive(tmp_path / "data", monkeypatch, content)
    with refused(ValueError, root / cifar.ARCHIVE, "damaged", "tar says"):
        load("cifar10", data_dir=root)


def test_cache_is_checked_by_a_digest_of_its_own(tmp_path, cifar10):
    root = write_files(tmp_path / "data", cifar10)
    first = load("cifar10", data_dir=root)
    (entry,) = entries(tmp_path)
    with np.load(entry, allow_pickle=False) as stored:
        good = dict(stored)
    other = good["test_inputs"].copy()
    other[0, 0, 0, 0] ^= 1
    lacking = {name: array for name, array in good.items() if name != "digest"}
    wrong = (good | {"digest": np.array("0" * 64)}, good | {"test_inputs": other})
    for bad in (*wrong, lacking):
        np.savez(entry, **bad)
        assert_equal(load("cifar10", data_dir=root), first)
        with np.load(entry, allow_pickle=False) as stored:
            assert str(stored["digest"]) == first.digest


def test_changed_pixel_changes_the_digest_and_a_published_one_decides(
    tmp_path, cifar10, monkeypatch
):
    root = write_files(tmp_path / "data", cifar10)
    first = load("cifar10", data_dir=root)
    content = cifar10[cifar.TEST]
    (root / cifar.TEST).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert load("cifar10", data_dir=root).digest != first.digest
    change(monkeypatch, "cifar10", digest=first.digest)
    with refused(ValueError, root, "not the real cifar10", first.digest):
        load("cifar10", data_dir=root)


def test_what_is_known_of_the_real_data():
    import tensorflow_datasets as tfds

    known, stock = sources.PUBLICATIONS["cifar10"], tfds.builder_cls("cifar10")
    checksum = stock.url_infos[known.url + cifar.ARCHIVE].checksum
    assert known.sha256 == {cifar.ARCHIVE: checksum}
    assert known.tfds_version == str(stock.VERSION)
    assert (known.num_train, known.num_test, known.balanced) == (50_000, 10_000, True)
    assert known.image_shape == (32, 32, 3)
    names = "airplane automobile bird cat deer dog frog horse ship truck"
    assert known.class_names == tuple(names.split())
