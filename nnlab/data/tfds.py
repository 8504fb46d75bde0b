# SPDX-License-Identifier: Apache-2.0
"""Prepared TFDS directories, read and made without TensorFlow.

They are read without TFDS's builders, which would import whatever classes the
directory's features.json names. The features of published datasets are known anyway.

Importing TFDS takes most of a second, so only the functions that need it do.
"""

import contextlib
import io
import json
import logging
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from nnlab.data import published
from nnlab.data.dataset import Dataset
from nnlab.data.published import Publication
from nnlab.machine import network
from nnlab.machine.files import refuse_links

# Of a dataset_info.json; TFDS writes about 2,000 for these datasets.
_MOST_BYTES = 1 << 20


def file_format(path: Path) -> str | None:
    """Returns the format of a version's directory, such as DATA_DIR/mnist/3.0.1.

    It is "array_record", "tfrecord", ...; None if nothing is prepared there. A damaged
    description is refused (ValueError).
    """
    file = path / "dataset_info.json"
    try:
        status = file.stat()
        # A pipe may never end.
        if not stat.S_ISREG(status.st_mode) or status.st_size > _MOST_BYTES:
            raise OSError
        text = file.read_text(encoding="utf-8")
        return str(json.loads(text).get("fileFormat", "tfrecord"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{file} cannot be read") from error


def read(path: Path, publication: Publication) -> Dataset:
    """Reads the directory of a version, in array_record format, in canonical order.

    Damaged ones and those that were not published are refused (ValueError).
    """
    # On damaged files array_record, protobuf and Pillow each raise errors of their own.
    try:
        train = _read_split(path, publication, "train")
        test = _read_split(path, publication, "test")
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged: its array_record files cannot be read "
            f"({type(error).__name__}); delete it or prepare it again"
        ) from error
    return published.dataset(published.Arrays(*train, *test), publication, path)


def _read_split(
    path: Path, publication: Publication, split: str
) -> tuple[np.ndarray, np.ndarray]:
    """Reads images (N, H, W) or (N, H, W, C) and labels (N,) of one split.

    Files are found by the names that TFDS gives them, not by the description.
    """
    from array_record.python.array_record_module import ArrayRecordReader
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    height, width, *_ = publication.image_shape
    images, labels = [], []
    for file in sorted(path.glob(f"{publication.name}-{split}.array_record-*-of-*")):
        if not file.is_file():  # opening a pipe would wait for ever
            raise OSError
        for record in ArrayRecordReader(str(file)).read_all():
            feature = tf_example_pb2.Example.FromString(record).features.feature
            (png,) = feature["image"].bytes_list.value
            (label,) = feature["label"].int64_list.value
            image = Image.open(io.BytesIO(png), formats=("PNG",))
            # Checked before it is decoded: a few bytes can claim many pixels.
            if image.size != (width, height) or image.mode not in ("L", "RGB"):
                raise ValueError
            images.append(np.asarray(image))
            labels.append(label)
    return np.array(images), np.array(labels)


def download(root: Path, publication: Publication) -> None:
    """Downloads a dataset with TFDS and prepares it in array_record format.

    The data folder `root` is made if it is missing.

    Raises:
      FileNotFoundError: the data folder cannot be made.
      ConnectionError: the network or the server cannot be reached.
      ValueError: the data is not what was published, or there is a link among the files
        to delete.
    """
    host = urlsplit(publication.url).hostname
    files = ", ".join(publication.reader.DOWNLOADS.values())
    failed = f"{publication.name} is not on this machine and its download from {host}"

    def unreachable(reason: str) -> ConnectionError:
        return ConnectionError(
            f"{failed} failed ({reason}): to work without a network, put {files} into "
            "a folder and pass --data_dir=FOLDER (in Python: data_dir=)"
        )

    if reason := network.unreachable(publication.url):
        raise unreachable(reason)

    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, util

    try:
        root.mkdir(parents=True, exist_ok=True)
        refuse_links(root / "downloads")  # it is deleted below
    except OSError as error:
        raise FileNotFoundError(f"cannot make {root}: {error.strerror}") from error
    options = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
        with _calm():
            _builder(root, publication).download_and_prepare(
                file_format="array_record", download_config=options
            )
    except download_manager.NonMatchingChecksumError as error:
        raise ValueError(f"{failed} brought other files than published") from error
    except ValueError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{failed} brought a bad file, now deleted: {line}") from error
    except (OSError, util.DownloadError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise unreachable(reason) from error
    finally:
        # TFDS would trust these files the next time, damaged or not.
        shutil.rmtree(root / "downloads" / publication.name, ignore_errors=True)


def _builder(root: Path, publication: Publication) -> Any:
    """Makes TFDS's own builder, with the steps replaced that need TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    stock: Any = tfds.builder_cls(publication.name)

    def split_generators(self: Any, manager: Any) -> dict[str, Any]:
        names = publication.reader.DOWNLOADS
        urls = {key: f"{publication.url}{file}" for key, file in names.items()}
        paths = {key: Path(path) for key, path in manager.download(urls).items()}
        arrays = publication.reader.read_arrays(paths, publication)
        # The stock builder of CIFAR-10 reads the names from a file of the download.
        self.info.features["label"].names = list(publication.class_names)
        ids = "id" in self.info.features
        return {
            "train": _examples("train", arrays.train_images, arrays.train_labels, ids),
            "test": _examples("test", arrays.test_images, arrays.test_labels, ids),
        }

    methods = {"name": publication.name, "_split_generators": split_generators}
    with registered.skip_registration():
        # The name and the stock version make the result readable by stock TFDS.
        return type(stock.__name__, (stock,), methods)(data_dir=root)


def _examples(
    split: str, images: np.ndarray, labels: np.ndarray, ids: bool
) -> Iterator[tuple[int, Any]]:
    from PIL import Image

    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        # TFDS encodes an array with TensorFlow, a Pillow image without.
        example = {"image": Image.fromarray(image), "label": int(label)}
        yield i, example | ({"id": f"{split}_{i:05d}"} if ids else {})


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Keeps TFDS from drawing progress bars, and from retrying for 204 s."""
    from tensorflow_datasets.core.download import downloader

    logger = logging.getLogger("urllib3")
    level, retries = logger.level, downloader.MAX_RETRIES
    sink = io.StringIO()
    try:
        logger.setLevel(logging.ERROR)
        downloader.MAX_RETRIES = 1
        with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
            yield
    finally:
        logger.setLevel(level)
        downloader.MAX_RETRIES = retries
