"""The embeddings of pictures that were seen, found again by a file's bytes or by the pixels."""

from collections import OrderedDict
from threading import Lock

from llava_edge.runtime.image_embeddings import ImageEmbeddings

FILES = 4096  # that are recognised before they are decoded


class KnownPictures:
    """Image embeddings up to some bytes, for several threads; those not asked for longest go."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._lock = Lock()
        self._size = 0
        self._kept: OrderedDict[bytes, ImageEmbeddings] = OrderedDict()  # by their pixels' key
        self._key_of: OrderedDict[bytes, bytes] = OrderedDict()  # by a file's digest

    def __len__(self) -> int:
        return len(self._kept)

    def of_file(self, digest: bytes | None) -> ImageEmbeddings | None:
        """Those of a file with this digest."""
        with self._lock:
            return None if digest is None else self._get(self._key_of.get(digest, b""))

    def of_pixels(self, key: bytes) -> ImageEmbeddings | None:
        """Those of pixels with this key."""
        with self._lock:
            return self._get(key)

    def name(self, digest: bytes | None, key: bytes) -> None:
        """Take down which pixels a file holds."""
        if digest is None:
            return
        with self._lock:
            self._key_of[digest] = key
            if len(self._key_of) > FILES:
                self._key_of.popitem(last=False)

    def put(self, key: bytes, embeddings: ImageEmbeddings) -> None:
        """Remember what was encoded."""
        with self._lock:
            self._kept[key] = embeddings
            self._size += embeddings.rows.nbytes
            while self._size > self.most:
                _, gone = self._kept.popitem(last=False)
                self._size -= gone.rows.nbytes

    def clear(self) -> None:
        """Forget them all."""
        with self._lock:
            self._kept.clear()
            self._key_of.clear()
            self._size = 0

    def _get(self, key: bytes) -> ImageEmbeddings | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)
