"""The stages of an answer about a picture, each of which is timed."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Literal

import numpy as np

from llava_edge.bench.call_runtime import TokenReader, ask, pixels, timed, unseen
from llava_edge.errors import LlavaEdgeError
from llava_edge.runtime.model import Llava

StageKind = Literal["load", "picture", "encode", "prefill", "ttft", "decode"]

FOLLOW_UP = "And what else is in it?"
LOAD = (
    "import sys, time, llava_edge; start = time.perf_counter(); "
    "llava_edge.load(sys.argv[1], sys.argv[2]); print(time.perf_counter() - start)"
)


@dataclass(frozen=True)
class StageTime:
    """Seconds that a stage took once."""

    name: str
    seconds: float
    kind: StageKind
    amount: int = 1  # encode: tiles; prefill: tokens; decode: tokens in the KV cache before it


@dataclass(frozen=True)
class AnswerPlan:
    """What a run asks, and how often it decodes."""

    images: Sequence[Path]
    prompt: str
    tokens: int  # decoded at each context
    contexts: Sequence[int]


def run_through(model: Llava, plan: AnswerPlan, number: int) -> Iterator[StageTime]:
    """Time every stage once, and decode once a token; runs of other numbers have other pictures."""
    path = plan.images[number % len(plan.images)]
    pictures = (unseen(path, 4 * number + index) for index in count())
    yield StageTime("load", _load(model), "load")
    yield from questions(model, pictures, plan.prompt)
    for context in plan.contexts:
        yield from decode(model, context, plan.tokens)


def questions(model: Llava, pictures: Iterator[bytes], prompt: str) -> Iterator[StageTime]:
    """The stages that ask about pictures; they take four of them."""
    yield from _picture(model, next(pictures))
    yield from _question(model, next(pictures), prompt)
    yield from _conversation(model, [next(pictures), next(pictures)], prompt)


def _load(model: Llava) -> float:
    command = [sys.executable, "-c", LOAD, str(model.path), model.device.name]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise LlavaEdgeError(
            f"Loading {model.path} in a new process failed "
            f"({done.stderr.strip().rpartition(chr(10))[2]}); see what `llava-edge chat` says."
        )
    return float(done.stdout)


def _picture(model: Llava, picture: bytes) -> Iterator[StageTime]:
    """Time decoding and preprocessing, then the rest of encode_image."""
    preparing, tiles = timed(lambda: len(pixels(model, picture)))
    encoding, _ = timed(lambda: model.encode_image(picture))
    yield StageTime("picture decode, preprocess", preparing, "picture")
    yield StageTime("vision encode", encoding - preparing, "encode", tiles)


def _question(model: Llava, picture: bytes, prompt: str) -> Iterator[StageTime]:
    _, timings = ask(model, prompt, picture, tokens=1)
    tokens = timings.prefilled_tokens
    yield StageTime("prefill of the question", timings.prefill_seconds, "prefill", tokens)
    yield StageTime("TTFT, new picture", timings.ttft_seconds, "ttft")


def _conversation(model: Llava, pictures: list[bytes], prompt: str) -> Iterator[StageTime]:
    """Ask again about the same picture, and then about another one."""
    chat = model.chat()
    ask(chat, prompt, pictures[0], tokens=8)
    _, timings = ask(chat, FOLLOW_UP, tokens=8)
    yield StageTime("TTFT, same picture in turn 2", timings.ttft_seconds, "ttft")
    _, timings = ask(chat, prompt, pictures[1], tokens=1)
    yield StageTime("TTFT, new picture in turn 3", timings.ttft_seconds, "ttft")


def decode(model: Llava, context: int, tokens: int) -> Iterator[StageTime]:
    """Time reading random ids, then decoding greedily; a token's time includes its choice."""
    random = np.random.default_rng(context)
    ids = random.integers(0, model.config.decoder.vocab_size, context).tolist()
    reader = TokenReader(model)
    reader.forget()
    seconds, id = timed(lambda: reader.read(ids))
    yield StageTime(f"prefill of {context:,} tokens", seconds, "prefill", context)
    for _ in range(tokens):
        seconds, id = timed(lambda last=id: reader.read([last]))  # type: ignore[misc]
        yield StageTime(f"decode after {context:,}", seconds, "decode", context)
    reader.forget()
