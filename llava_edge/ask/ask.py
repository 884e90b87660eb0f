"""`llava-edge ask`: many questions, answered several at once, and written in their order."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from llava_edge.ask.answers_file import AnswersFile
from llava_edge.ask.questions import Question, read_questions
from llava_edge.core.bundle import BUNDLE_JSON
from llava_edge.core.files import sha256_of
from llava_edge.core.prompt import Message
from llava_edge.data.records import Data
from llava_edge.errors import DeviceError, LlavaEdgeError, RecordError
from llava_edge.runtime.asked import asked_question
from llava_edge.runtime.load import load
from llava_edge.runtime.model import Llava
from llava_edge.runtime.options import DEFAULTS, Options
from llava_edge.runtime.stream import Stream

PARALLEL = 4
_AHEAD = 4  # questions for each answer that is under way, so that a long one holds up nobody

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """How a run went: questions answered now and before, those without an answer, and the time."""

    answered: int
    before: int
    failed: int
    tokens: int  # of the answers of this run
    seconds: float


def ask(
    records: Sequence[Path],
    out: Path,
    *,
    bundle: Path | str | None = None,
    images: Path | None = None,
    system: str | None = None,
    options: Options = DEFAULTS,
    device: str = "auto",
    parallel: int = PARALLEL,
    limit: int | None = None,
    force: bool = False,
    watch: Callable[[int, int], None] = lambda done, total: None,
) -> Asked:
    """Answer the questions of files, and write the answers to `out`, a JSON line for each.

    `parallel` answers are computed at once. A run that was ended goes on where it stopped. A
    question that cannot be asked gets a row that says why. `watch` is told how many are done, of
    how many. Raises RecordError for files that cannot be read or written, UsageError where `out`
    was begun with other settings, and what `load` raises.
    """
    data = Data(tuple(records), images or Path(records[0]).parent, limit)
    total = sum(1 for _ in read_questions(data))
    if not total:
        raise RecordError(f"{records[0]} holds no questions; at least one is needed.")
    start = time.perf_counter()
    model = load(bundle, device, contexts=parallel)
    file = AnswersFile(out, settings_of(model.path, data, system, options), force=force)
    done, failed, tokens = file.done, 0, 0
    try:
        questions = islice(read_questions(data), file.done, None)
        for row in answers(model, questions, system, options, parallel):
            file.append(row)
            failed += "error" in row
            tokens += sum(turn.get("answer_tokens", 0) for turn in row.get("conversation", [row]))
            done += 1
            watch(done, total)
    finally:
        file.close()
    return Asked(done - file.done - failed, file.done, failed, tokens, time.perf_counter() - start)


def answers(
    model: Llava,
    questions: Iterable[Question],
    system: str | None,
    options: Options,
    parallel: int,
) -> Iterator[Row]:
    """The answers to questions, in their order, `parallel` of them at once.

    One that cannot be asked has an "error" instead. Raises DeviceError where the device fails.
    """
    streams: set[Stream] = set()
    waiting: deque[Future[Row]] = deque()
    with ThreadPoolExecutor(parallel, thread_name_prefix="llava-edge-ask") as threads:
        try:
            for question in questions:
                waiting.append(threads.submit(_row, model, question, system, options, streams))
                if len(waiting) >= parallel * _AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:  # Ctrl-C, or an error
            for future in waiting:
                future.cancel()
            for stream in list(streams):
                stream.cancel()


def _row(
    model: Llava, question: Question, system: str | None, options: Options, streams: set[Stream]
) -> Row:
    """Ask a question's turns, each after the answers to those before."""
    if question.problem:
        return {"id": question.id, "error": question.problem}
    words = system if question.system is None else question.system
    messages = [] if words is None else [Message("system", words)]
    turns = []
    try:
        for prompt, pictures in question.turns:
            messages.append(asked_question(prompt, pictures, model.config.prompt))
            turns.append({"prompt": prompt, **_turn(model, messages, options, streams)})
            messages.append(Message("assistant", turns[-1]["answer"]))
    except DeviceError:
        raise
    except LlavaEdgeError as error:
        return {"id": question.id, "error": str(error)}
    if question.is_conversation:
        return {"id": question.id, "conversation": turns}
    return {"id": question.id, **turns[0]}


def _turn(model: Llava, messages: Sequence[Message], options: Options, streams: set[Stream]) -> Row:
    stream = model.stream(messages, options)
    streams.add(stream)
    try:
        *pieces, last = stream
    finally:
        streams.discard(stream)
    return {
        "answer": "".join(piece.text for piece in [*pieces, last]),
        "finish": last.finish,
        "prompt_tokens": last.timings.prompt_tokens,
        "answer_tokens": last.timings.generated_tokens,
    }


def settings_of(bundle: Path, data: Data, system: str | None, options: Options) -> Row:
    """What answers depend on: a run that goes on must have the same."""
    records = hashlib.sha256("".join(map(sha256_of, data.files)).encode())
    defaults = asdict(DEFAULTS)
    given = {name: str(v) for name, v in asdict(options).items() if v != defaults[name]}
    return {
        "bundle": sha256_of(bundle / BUNDLE_JSON),  # which has the sha256 of all its files
        "records": records.hexdigest(),
        "images": str(data.images.resolve()),
        "system": system,
        "options": given,
    }
