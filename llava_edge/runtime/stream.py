"""Stream: an answer that comes piece by piece, and can be ended from another thread."""

from llava_edge.runtime.answer import Piece, Pieces
from llava_edge.runtime.interrupt import Interrupt
from llava_edge.runtime.lifetime import Lifetime


class Stream:
    """Iterates over the pieces of an answer, which is computed as it is iterated.

        with model.stream("Describe the picture.", "photo.jpg") as stream:
            for piece in stream:
                print(piece.text, end="")  # meanwhile another thread may call stream.cancel()

    At the end of `with` an answer that has not ended is given up. Raises DeviceError, in the
    iteration, where the device fails.
    """

    def __init__(self, pieces: Pieces, interrupt: Interrupt, lifetime: Lifetime) -> None:
        lifetime.begin(interrupt)
        self._pieces = pieces
        self._interrupt = interrupt
        self._lifetime = lifetime

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Piece:
        with self._lifetime.computing():
            return next(self._pieces)

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def cancel(self) -> None:
        """End the answer, from any thread; what was said so far is the answer.

        The thread that iterates gets a last piece, whose `finish` is "cancelled".
        """
        self._interrupt.end("cancelled")

    def close(self) -> None:
        """Give the answer up, in the thread that iterates; there is no last piece."""
        self._pieces.close()

    def text(self) -> str:
        """Iterate to the end, and return the words that were still to come."""
        return "".join(piece.text for piece in self)
