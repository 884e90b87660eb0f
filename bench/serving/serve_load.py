"""How soon and how fast a server answers several clients at once.

    llava-edge bench serve BUNDLE --image photo.jpg

Each client asks one question after another. In a round, all numbers of clients have their turn,
each with pictures that are new to the server and with one that it knows. `--url` measures another
server instead, such as llama-server, with the same questions.
"""

import threading
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from llava_edge.bench.call_runtime import unseen
from llava_edge.bench.serving.streamed_request import ChatServer, TimedAnswer
from llava_edge.bench.summary import Summary, summarize
from llava_edge.errors import LlavaEdgeError

CLIENTS = (1, 2, 4, 8, 16)
QUESTIONS = 4  # of each client in a round


@dataclass(frozen=True)
class LoadResult:
    """What clients met: seconds to the first words, tokens a second of each, and of all."""

    clients: int
    picture: str  # "new" or "known"
    first: Summary
    tokens_per_second: Summary
    throughput: Summary  # tokens of all clients in a second


@dataclass(frozen=True)
class LoadPlan:
    """What is asked: pictures are painted on so that each is new."""

    image: Path
    prompt: str
    tokens: int
    clients: Sequence[int] = CLIENTS
    questions: int = QUESTIONS


def serve_load(server: ChatServer, plan: LoadPlan, rounds: int) -> list[LoadResult]:
    """Measure a server, round by round, after one question that warms it up."""
    answers: dict[tuple[int, str], list[TimedAnswer]] = defaultdict(list)
    rates: dict[tuple[int, str], list[float]] = defaultdict(list)
    known = unseen(plan.image, 0)
    server.ask(plan.prompt, known, plan.tokens)
    number = 1
    for _ in range(rounds):
        for clients in plan.clients:
            for picture in ("new", "known"):
                count = clients * plan.questions
                files = [unseen(plan.image, number + n) for n in range(count)]
                number += count
                files = files if picture == "new" else [known] * count
                seconds, found = _ask_all(server, plan, clients, files)
                answers[clients, picture] += found
                rates[clients, picture].append(sum(a.tokens for a in found) / seconds)
    return [
        LoadResult(
            clients,
            picture,
            summarize([answer.first for answer in found]),
            summarize([answer.tokens_per_second for answer in found]),
            summarize(rates[clients, picture]),
        )
        for (clients, picture), found in answers.items()
    ]


def _ask_all(
    server: ChatServer, plan: LoadPlan, clients: int, files: Sequence[bytes]
) -> tuple[float, list[TimedAnswer]]:
    """The clients ask in threads; returns the seconds that all took, and the answers."""
    found: list[TimedAnswer] = []
    failures: list[LlavaEdgeError] = []

    def ask(mine: Sequence[bytes]) -> None:
        try:
            found.extend(server.ask(plan.prompt, file, plan.tokens) for file in mine)
        except LlavaEdgeError as error:
            failures.append(error)

    threads = [
        threading.Thread(target=ask, args=(files[client::clients],)) for client in range(clients)
    ]
    start = perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return perf_counter() - start, found
