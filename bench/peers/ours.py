"""The bundle in llava-edge itself."""

from pathlib import Path

from llava_edge.bench.call_runtime import TokenReader, ask, open_bundle
from llava_edge.bench.peers.candidate import PeerSettings
from llava_edge.bench.peers.question import ANSWER_TOKENS, PeerQuestion
from llava_edge.runtime.model import Llava


def open_candidate(settings: PeerSettings) -> "Ours":
    """Load the bundle, with a context as long as the others'."""
    return Ours(open_bundle(settings.bundle, settings.device, settings.context))


class Ours(TokenReader):
    """A bundle that is asked through Chat, as an application asks it."""

    def __init__(self, model: Llava) -> None:
        super().__init__(model)
        self._model = model
        self._chat = model.chat()

    def ask(self, question: PeerQuestion) -> float:
        """Seconds of the first turn, from the picture's file on."""
        self.forget()
        self._chat = self._model.chat()
        picture = Path(question.picture)
        _, timings = ask(self._chat, question.prompt, picture, tokens=ANSWER_TOKENS)
        return timings.ttft_seconds

    def follow_up(self, question: PeerQuestion) -> float:
        """Seconds of the second turn of the same conversation."""
        _, timings = ask(self._chat, question.follow_up_prompt, tokens=1)
        return timings.ttft_seconds
