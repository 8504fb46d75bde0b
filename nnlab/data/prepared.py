# SPDX-License-Identifier: Apache-2.0
"""Prepared TFDS directories, read and made without TensorFlow.

Importing TFDS takes most of a second, so only the functions that need it do.
"""

import contextlib
import io
import json
import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from nnlab.data import idx
from nnlab.data.dataset import Dataset

# A connection attempt without an answer may otherwise hang for minutes.
_PROBE_SECONDS = 3.0


def folder(root: Path, publication: idx.Publication) -> Path:
    """Returns where TFDS keeps a dataset below a data folder."""
    return root / publication.name / publication.tfds_version


def file_format(path: Path) -> str | None:
    """Tells how a prepared directory stores its examples.

    Args:
        path: The directory of one version, for instance DATA_DIR/mnist/3.0.1.

    Returns:
        "array_record", "tfrecord", ...; None if nothing is prepared there.

    Raises:
        ValueError: The directory's description is damaged.
    """
    try:
        text = (path / "dataset_info.json").read_text(encoding="utf-8")
        return str(json.loads(text).get("fileFormat", "tfrecord"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{path / 'dataset_info.json'} cannot be read") from error


def read(path: Path, publication: idx.Publication) -> Dataset:
    """Reads a prepared directory in array_record format.

    Args:
        path: The directory of one version.
        publication: What it must hold.

    Returns:
        The dataset in canonical order.

    Raises:
        ValueError: The directory is damaged or not what was published.
    """
    arrays: dict[str, np.ndarray] = {}
    # TFDS, array_record, protobuf and Pillow each raise errors of their own on damaged
    # files; the user needs one line that names the directory.
    try:
        import tensorflow_datasets as tfds

        # Decoded here: TFDS takes twice as long and asks for OpenCV on the terminal.
        encoded = {"image": tfds.decode.SkipDecoding()}
        builder = tfds.builder_from_directory(path)
        for split, images, labels in (
            ("train", idx.TRAIN_IMAGES, idx.TRAIN_LABELS),
            ("test", idx.TEST_IMAGES, idx.TEST_LABELS),
        ):
            source = builder.as_data_source(split=split, decoders=encoded)
            examples = source.__getitems__(range(len(source)))
            arrays[images] = np.stack([_png(e["image"]) for e in examples])
            arrays[labels] = np.array([e["label"] for e in examples])
    except ImportError:
        raise
    except Exception as error:
        raise ValueError(
            f"{path} is damaged: TFDS cannot read it ({type(error).__name__}); "
            "delete it or prepare it again"
        ) from error
    for file in (idx.TRAIN_LABELS, idx.TEST_LABELS):
        found, expected = len(arrays[file]), publication.shape(file)[0]
        if found != expected:
            raise ValueError(
                f"{path} holds {found:,} {file.split('-')[0]} examples, "
                f"{publication.name} has {expected:,}"
            )
    dataset = idx.dataset(arrays, publication)
    if dataset.digest != publication.digest:
        raise ValueError(
            f"{path} is damaged or not the real {publication.name}: sha256 of its "
            f"arrays is {dataset.digest}, expected {publication.digest}"
        )
    return dataset


def _png(encoded: bytes) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(encoded), formats=("PNG",)))


def download(root: Path, publication: idx.Publication) -> None:
    """Downloads a dataset with TFDS and prepares it in array_record format.

    Args:
        root: The data folder; it is made if it is not there.
        publication: What to download.

    Raises:
        FileNotFoundError: The data folder cannot be made.
        ConnectionError: The network or the server cannot be reached.
        ValueError: What arrived is not what was published.
    """
    host = urlsplit(publication.url).hostname
    advice = (
        f"to go without a network, put {', '.join(f'{f}.gz' for f in idx.FILES)} into "
        "a folder and pass --data_dir=FOLDER (in Python: data_dir=)"
    )
    failed = f"{publication.name} is not on this machine and its download from {host}"
    reason = _unreachable(publication.url)
    if reason is not None:
        raise ConnectionError(f"{failed} failed ({reason}): {advice}")

    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import download_manager, util

    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotFoundError(f"cannot make {root}: {error.strerror}") from error
    try:
        with _calm():
            _builder(root, publication).download_and_prepare(
                file_format="array_record",
                download_config=tfds.download.DownloadConfig(try_download_gcs=False),
            )
    except download_manager.NonMatchingChecksumError as error:
        raise ValueError(f"{failed} brought other files than published") from error
    except ValueError as error:
        line = str(error).splitlines()[0]
        raise ValueError(f"{failed} brought a bad file, now deleted: {line}") from error
    except (OSError, util.DownloadError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConnectionError(f"{failed} failed ({reason}): {advice}") from error
    finally:
        # TFDS would trust these files the next time, damaged or not.
        shutil.rmtree(root / "downloads" / publication.name, ignore_errors=True)


def _unreachable(url: str) -> str | None:
    """Returns why a URL cannot be reached, or None if somebody answers.

    In a thread, because neither looking up a name nor trying each of its addresses in
    turn has a time limit of its own.
    """
    import requests

    reasons = [f"no answer within {_PROBE_SECONDS:.0f} s"]

    def probe() -> None:
        try:
            requests.head(url, timeout=_PROBE_SECONDS)
            reasons.clear()
        except requests.exceptions.RequestException as error:
            reasons[0] = type(error).__name__

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(_PROBE_SECONDS + 0.5)
    return reasons[0] if reasons else None


def _builder(root: Path, publication: idx.Publication) -> Any:
    """Makes TFDS's own builder, with the steps replaced that need TensorFlow."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    stock: Any = tfds.builder_cls(publication.name)

    def split_generators(self: Any, manager: Any) -> dict[str, Any]:
        paths = manager.download({f: f"{publication.url}{f}.gz" for f in idx.FILES})
        arrays = idx.read_arrays({f: Path(paths[f]) for f in idx.FILES}, publication)
        return {
            "train": _examples(arrays[idx.TRAIN_IMAGES], arrays[idx.TRAIN_LABELS]),
            "test": _examples(arrays[idx.TEST_IMAGES], arrays[idx.TEST_LABELS]),
        }

    methods = {"name": publication.name, "_split_generators": split_generators}
    with registered.skip_registration():
        # The name and the stock version make the result readable by stock TFDS.
        return type(stock.__name__, (stock,), methods)(data_dir=root)


def _examples(images: np.ndarray, labels: np.ndarray) -> Iterator[tuple[int, Any]]:
    from PIL import Image

    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        # TFDS encodes an array with TensorFlow, a Pillow image without.
        yield i, {"image": Image.fromarray(image), "label": int(label)}


@contextlib.contextmanager
def _calm() -> Iterator[None]:
    """Keeps TFDS from drawing bars, and from 204 s of retries without a network."""
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
