"""The process of one candidate, which answers each line of JSON with another."""

import json
import sys
from collections.abc import Callable
from typing import Any

from llava_edge.bench.call_runtime import timed
from llava_edge.bench.peers.candidate import Candidate, PeerSettings, open_candidate
from llava_edge.bench.peers.question import PeerQuestion
from llava_edge.bench.worker_process import send_error, take_stdout
from llava_edge.core.machine import peak_memory
from llava_edge.core.strict import parse

Measured = dict[str, float | None]


def speed(candidate: Candidate, *, ids: list[int], prefill: int, tokens: int) -> Measured:
    """Seconds to read the first ids, and for a token after all of them, greedily."""
    candidate.forget()
    reading, id = timed(lambda: candidate.read(ids[:prefill]))
    if ids[prefill:]:
        id = candidate.read(ids[prefill:])

    def decode(id: int) -> None:
        for _ in range(tokens):
            id = candidate.read([id])

    decoding, _ = timed(lambda: decode(id))
    candidate.forget()
    return {"prefill": reading, "decode": decoding / tokens}


def question(candidate: Candidate, **fields: Any) -> Measured:
    """Seconds to the first token of both turns."""
    asked = parse(PeerQuestion, fields)
    return {"question": candidate.ask(asked), "follow-up": candidate.follow_up(asked)}


def memory(candidate: Candidate) -> Measured:
    """The peak memory of this process, in bytes."""
    return {"peak": peak_memory()}


REQUESTS: dict[str, Callable[..., Measured]] = {
    "speed": speed,
    "question": question,
    "memory": memory,
}


def serve() -> None:
    """Load the candidate of the only argument, say that it is there, and answer requests."""
    out = take_stdout()
    try:
        candidate = open_candidate(parse(PeerSettings, json.loads(sys.argv[1])))
        print(json.dumps({}), file=out)
        for line in sys.stdin:
            name, arguments = json.loads(line)
            print(json.dumps(REQUESTS[name](candidate, **arguments)), file=out)
    except Exception as error:  # a peer may fail in any way, and is then left out
        send_error(error, out)


if __name__ == "__main__":
    serve()
