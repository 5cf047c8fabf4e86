"""Images as a model takes them, made when they are asked for: a whole set is never held decoded, but for a bounded cache."""

from __future__ import annotations

import io
import mmap
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from PIL import Image

DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # PIL's modes of more than 8 bits a channel


def upright(cell: dict[str, Any]) -> Image.Image:
    """An encoded image (`{"bytes", "path"}`) as `pipeline` sees it: turned as its EXIF tag says, then made RGB."""
    from PIL import Image
    from transformers.image_utils import load_image

    with Image.open(_source(cell)) as image:
        return load_image(image)


def cells_of(values: Sequence[Any]) -> Sequence[Any]:
    """PIL images as encoded cells; other values as they are.

    As `upright` sees them and without loss. `datasets` would encode a JPEG in memory once more, and take an image that
    was opened from a file and changed in place (`thumbnail`) from that file again.
    """
    first = next((value for value in values if value is not None), None)
    if not type(first).__module__.startswith("PIL."):
        return values
    return [_cell(value) if hasattr(value, "convert") else value for value in values]


def _cell(image: Image.Image) -> dict[str, Any]:
    from transformers.image_utils import load_image

    file = io.BytesIO()
    load_image(image).save(file, "PNG", compress_level=1)
    return {"bytes": file.getvalue(), "path": None}


def encoded(rows: Dataset) -> Dataset:
    """The column `image` alone, undecoded: a dict with `bytes` or `path` a row."""
    from datasets import Image

    return rows.select_columns(["image"]).cast_column("image", Image(decode=False))


def deep(cells: Iterable[dict[str, Any]]) -> int:
    """How many images have more than 8 bits a channel; only their headers are read."""
    from PIL import Image

    found = 0
    for cell in cells:
        with Image.open(_source(cell)) as image:
            found += image.mode in DEEP_MODES
    return found


def _source(cell: dict[str, Any]) -> Any:
    return cell["path"] if cell.get("bytes") is None else io.BytesIO(cell["bytes"])


class PixelCache:
    """Pixels kept once they were made, in memory that forked data loader workers share; pages are taken as they fill.

    Args:
        rows: how many images; shape: (channels, height, width) of each, float32.
    """

    def __init__(self, rows: int, shape: Sequence[int]) -> None:
        self.bytes = pixel_bytes(rows, shape)
        self._pixels = np.frombuffer(
            mmap.mmap(-1, max(1, self.bytes)), np.float32, rows * int(np.prod(shape))
        )
        self._pixels = self._pixels.reshape(rows, *shape)
        self._made = np.frombuffer(mmap.mmap(-1, max(1, rows)), np.bool_)

    def get(self, place: int, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """The pixels of row `place`, made now if they were not before."""
        import torch

        if not self._made[place]:
            self._pixels[place] = make().numpy()
            self._made[place] = True  # last: another process that sees it finds the pixels
        return torch.from_numpy(self._pixels[place])


def pixel_bytes(rows: int, shape: Sequence[int]) -> int:
    """Bytes of so many images as float32."""
    return 4 * rows * int(np.prod(shape))


class PixelRows:
    """Rows of `pixel_values` (C, H, W) and, where there are any, `labels`: the part of `datasets.Dataset` that runs use.

    `Dataset.with_transform` would not do: Trainer takes away the image column, which no model names as its input,
    before a transform sees it, and each selection of rows pickles the transform to hash it.

    Args:
        images: rows with a column `image`; they stay encoded.
        processor: an image processor. It gets one image at a time, so that pixels do not depend on their neighbours.
        labels: a tensor (n, ...), one row an image.
        places: which rows, in which order.
    """

    def __init__(
        self,
        images: Dataset,
        processor: Any,
        labels: torch.Tensor | None = None,
        cache: PixelCache | None = None,
        places: np.ndarray | None = None,
    ) -> None:
        self._images = images if places is not None else encoded(images)
        self._processor, self._labels, self._cache = processor, labels, cache
        self._places = np.arange(len(images)) if places is None else places

    @property
    def column_names(self) -> list[str]:
        """`pixel_values`, and `labels` where there are any."""
        return ["pixel_values"] + (["labels"] if self._labels is not None else [])

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, key: int | slice | str | Sequence[int]) -> Any:
        """One row, several as a dict of columns, or the column of labels without a look at the images."""
        if key == "labels" and self._labels is not None:
            return self._labels[self._places].numpy()
        if isinstance(key, (int, np.integer)):
            return self._row(int(self._places[key]))
        if isinstance(key, str):
            raise KeyError(f"{key}: there is no such column, or it would be all pixels at once")
        rows = [self._row(int(place)) for place in self._places[key]]
        return {name: [row[name] for row in rows] for name in self.column_names}

    def select(self, indices: Iterable[int]) -> PixelRows:
        """These rows, in this order; what is kept of their pixels is shared."""
        places = self._places[np.fromiter(indices, dtype=np.int64)]
        return PixelRows(self._images, self._processor, self._labels, self._cache, places)

    def remove_columns(self, column_names: str | Sequence[str]) -> PixelRows:
        """Without `labels`."""
        names = [column_names] if isinstance(column_names, str) else list(column_names)
        if names != ["labels"] or self._labels is None:
            raise ValueError(f"cannot remove {names} from {self.column_names}")
        return PixelRows(self._images, self._processor, None, self._cache, self._places)

    def labelled(self, labels: torch.Tensor) -> PixelRows:
        """With `labels` (n, ...), one row an image that was given."""
        return PixelRows(self._images, self._processor, labels, self._cache, self._places)

    def __getstate__(self) -> dict[str, Any]:
        # A worker that is spawned, not forked, gets no cache: each would fill one of its own.
        return self.__dict__ | {"_cache": None}

    def _row(self, place: int) -> dict[str, Any]:
        row = {
            "pixel_values": self._cache.get(place, lambda: self._made(place))
            if self._cache
            else self._made(place)
        }
        return row if self._labels is None else row | {"labels": self._labels[place]}

    def _made(self, place: int) -> torch.Tensor:
        image = upright(self._images[place]["image"])
        return self._processor(image, return_tensors="pt")["pixel_values"][0]
