"""A bundle that is served: loaded or not, and a twin of its model for each key."""

import asyncio
import gc
import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from llava_edge.core.bundle import BUNDLE_JSON, find_bundle, read_bundle
from llava_edge.core.machine import release_unused
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.serve.served_model import ServedModel

_TWINS = 4  # each remembers prompts and pictures of its own, which take memory

_log = logging.getLogger(__name__)


class ModelHost:
    """A bundle by the name that clients know it by; raises BundleError where there is none.

    `load_model` loads it from its folder. `users` are those that need it, or wait for it to be
    loaded, and `used` is when the last of them had done with it.
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
        self.loading: asyncio.Future[None] | None = None
        self.loaded: ServedModel | None = None
        self.users = 0
        self.used = 0.0
        self._load_model = load_model
        self._twins = OrderedDict[str, ServedModel]()

    @property
    def present(self) -> bool:
        """Whether it takes memory."""
        return self.loading is not None or self.loaded is not None

    @property
    def idle(self) -> bool:
        """Whether it may be unloaded."""
        return self.loaded is not None and self.loading is None and not self.users

    def load(self) -> None:
        """Load it, which takes seconds; raises what `load_model` raises."""
        self.loaded = ServedModel.of(self.id, self._load_model(self.path))

    def unload(self) -> Callable[[], None]:
        """Forget the model -> what gives its memory back, which may take a moment."""
        assert self.loaded is not None
        models = [served.model for served in (*self._twins.values(), self.loaded)]
        self.loaded = None
        self._twins.clear()

        def give_back() -> None:
            while models:
                models.pop().close()
            gc.collect()  # of twins that were forgotten before, too
            release_unused()
            _log.info("Unloaded %s.", self.id)

        return give_back

    def model(self, key: str = "") -> ServedModel:
        """The loaded model as the holder of a key has it: with no trace of what others asked."""
        assert self.loaded is not None
        return self._twin(key, self.loaded) if key else self.loaded

    def _twin(self, key: str, served: ServedModel) -> ServedModel:
        twin = self._twins.pop(key, None) or replace(served, model=served.model.apart())
        self._twins[key] = twin
        if len(self._twins) > _TWINS:
            self._twins.popitem(last=False)
        return twin
