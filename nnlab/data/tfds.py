# SPDX-License-Identifier: Apache-2.0
"""Prepared TFDS directories, read without TensorFlow.

They are read without TFDS's builders, which would import whatever classes the
directory's features.json names. The features of published datasets are known anyway.
"""

import io
import json
import stat
from pathlib import Path

import numpy as np

from nnlab.data import published
from nnlab.data.dataset import Dataset
from nnlab.data.published import Publication

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
