"""The bundle that is served: loaded in the background, and a twin of its model for each key."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llava_edge.core.bundle import BUNDLE_JSON, find_bundle, read_bundle
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.serve.served_model import ServedModel
from llava_edge.serve.wire_errors import WireError

_TWINS = 4  # each remembers prompts and pictures of its own, which take memory
_RETRY_SECONDS = 2


class ModelHost:
    """A bundle by the name that clients know it by; raises BundleError where there is none.

    `load_model` loads it, from its folder, when `start` is called.
    """

    def __init__(
        self,
        bundle: Path | str | None = None,
        alias: str | None = None,
        load_model: Callable[[Path], Llava] = load,
    ) -> None:
        self.path = find_bundle(bundle)
        self.config = read_bundle(self.path)
        self.id = alias or "-".join(self.config.name.split())
        self.created = int((self.path / BUNDLE_JSON).stat().st_mtime)
        self.failure: Exception | None = None
        self.loaded: ServedModel | None = None  # None while it is loading
        self._load_model = load_model
        self._twins = OrderedDict[str, ServedModel]()

    def start(self, failed: Callable[[], None]) -> None:
        """Load in a thread; `failed` is called there if that fails, and `failure` says why."""
        threading.Thread(target=self._load, args=(failed,), name="loading", daemon=True).start()

    def model(self, key: str = "") -> ServedModel:
        """The model as the holder of a key has it: with no trace of what other keys asked.

        Raises WireError while it is loading.
        """
        if self.loaded is None:
            raise WireError(
                503,
                "The model is loading; ask again in a moment.",
                "unavailable_error",
                "loading",
                headers={"retry-after": str(_RETRY_SECONDS)},
            )
        return self._twin(key, self.loaded) if key else self.loaded

    def _twin(self, key: str, served: ServedModel) -> ServedModel:
        twin = self._twins.pop(key, None) or replace(served, model=served.model.apart())
        self._twins[key] = twin
        if len(self._twins) > _TWINS:
            self._twins.popitem(last=False)
        return twin

    def _load(self, failed: Callable[[], None]) -> None:
        try:
            self.loaded = ServedModel.of(self.id, self._load_model(self.path))
        except Exception as error:
            self.failure = error
            failed()
