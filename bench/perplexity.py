"""What quantization costs: perplexities of bundles, and of the same weights in llama.cpp.

    python -m llava_edge.bench.perplexity BUNDLE [BUNDLE ...] --records answers.json --images folder

The others are compared with the first bundle: give one that is not quantized. Its vision tower
encodes the pictures for all of them, so that only the language models differ. --gguf names a
float32 file of llama.cpp's converter, which llama.cpp (package llama-cpp-python) then quantizes and
reads too. The text is the language reference that comes with Python.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pydoc_data import topics
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
import typer

from llava_edge.bench.llama_cpp import LlamaCpp, quantize
from llava_edge.core.array_types import Floats
from llava_edge.core.exit_on_error import run_command
from llava_edge.core.prompt import Text, render
from llava_edge.data.records import Data, load_records
from llava_edge.runtime.load import load
from llava_edge.runtime.scoring import Sample, Scorer, losses

WINDOWS, WINDOW = 16, 512  # of the text; tokens, where the context has room

Score = Callable[[Sample, Floats | None], Floats]  # logits of a sample's targets


@dataclass(frozen=True)
class Perplexity:
    """One language model: the size of its weights, its perplexities and their increase."""

    name: str
    megabytes: float
    text: float
    text_increase: float  # over the first bundle's; 0.01 is a hundredth
    answers: float | None = None
    answers_increase: float | None = None


@dataclass(frozen=True)
class Questions:
    """What every model reads: windows of text, and answers with the rows of their pictures."""

    texts: Sequence[Sample]
    answers: Sequence[tuple[Sample, Floats | None]]


def compare(
    bundles: Sequence[Path], data: Data | None, gguf: Path | None, kinds: Sequence[str]
) -> Iterator[Perplexity]:
    """Ask every bundle, then llama.cpp with each kind of file made from `gguf`."""
    questions = _questions(bundles[0], data)
    first: Perplexity | None = None
    for bundle in bundles:
        with _bundle(bundle) as (score, size):
            found = _ask(bundle.name, size, score, questions, first)
        first = first or found
        yield found
    for kind in kinds if gguf is not None else ():
        with _llama_cpp(Path(gguf or ""), kind) as (score, size):
            yield _ask(f"llama.cpp {kind}", size, score, questions, first)


def _questions(bundle: Path, data: Data | None) -> Questions:
    model = load(bundle)
    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))
    ids = model.tokenizer.encode([(text[:600_000], False)])
    step = len(ids) // WINDOWS
    starts = range(0, step * WINDOWS, step)
    window = min(WINDOW, model.decoder.context)
    texts = [_text(ids[start : start + window]) for start in starts]
    answers = []
    for record in load_records(data) if data else ():
        if len(record.images) > 1:
            continue
        segments = tuple(render(record.messages, model.config.prompt, model.tokenizer))
        rows = model.encode_image(record.images[0]).rows if record.images else None
        answers.append((Sample(segments), rows))
    return Questions(texts, answers)


def _text(ids: Sequence[int]) -> Sample:
    return Sample((Text(tuple(ids), learned=True),))


def _ask(
    name: str, size: int, score: Score, questions: Questions, first: Perplexity | None
) -> Perplexity:
    text = _perplexity(score, [(sample, None) for sample in questions.texts])
    answers = _perplexity(score, questions.answers) if questions.answers else None
    return Perplexity(
        name,
        size / 1e6,
        text,
        text / first.text - 1 if first else 0.0,
        answers,
        answers / first.answers - 1 if first and first.answers and answers else None,
    )


def _perplexity(score: Score, samples: Sequence[tuple[Sample, Floats | None]]) -> float:
    found = []
    for sample, picture in samples:
        targets = sample.targets(0 if picture is None else len(picture))
        found.append(losses(score(sample, picture), targets)[targets.learned])
    return float(np.exp(np.concatenate(found).mean()))


@contextmanager
def _bundle(folder: Path) -> Iterator[tuple[Score, int]]:
    model = load(folder)
    scorer = Scorer(model)

    def score(sample: Sample, picture: Floats | None) -> Floats:
        targets = sample.targets(0 if picture is None else len(picture))
        return scorer.score(sample.rows(scorer.embed, picture), targets.positions.tolist())

    quantization = model.config.quantization
    yield score, int(quantization.bits_per_weight * quantization.weights / 8)


@contextmanager
def _llama_cpp(gguf: Path, kind: str) -> Iterator[tuple[Score, int]]:
    """A file of that kind in llama.cpp, which reads tokens and the rows of pictures."""
    with TemporaryDirectory() as folder:
        path = quantize(gguf, kind, Path(folder))
        model = LlamaCpp(path, context=2048, batch=2048)
        yield lambda sample, picture: _score_llama_cpp(model, sample, picture), _gguf_size(path)
        model.close()


def _gguf_size(path: Path) -> int:
    import gguf

    return sum(tensor.n_bytes for tensor in gguf.GGUFReader(path).tensors)


def _score_llama_cpp(model: LlamaCpp, sample: Sample, picture: Floats | None) -> Floats:
    model.forget()
    logits = []
    for segment in sample.segments:
        given = list(segment.ids) if isinstance(segment, Text) else picture
        assert given is not None  # a sample with a picture comes with its rows
        logits.append(model.read(given, every=True).copy())
    targets = sample.targets(0 if picture is None else len(picture))
    every: Floats = np.concatenate(logits)
    return every[targets.positions]


def main(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles, an unquantized one first.")],
    records: Annotated[Path | None, typer.Option(help="LLaVA records with answers.")] = None,
    images: Annotated[Path | None, typer.Option(help="The folder of their pictures.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most records that are asked.")] = 100,
    gguf: Annotated[
        Path | None, typer.Option(help="The same weights in float32, for llama.cpp.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="What llama.cpp makes of it.", show_default="Q4_K_M, Q4_0"),
    ] = None,
) -> None:
    """Print a table of perplexities, and then one JSON line."""
    data = Data((records,), images or records.parent, limit) if records else None
    found = []
    print(f"{'':28} {'MB':>7} {'text':>17} {'answers':>17}")
    for one in compare(bundles, data, gguf, kind or ["Q4_K_M", "Q4_0"]):
        found.append(asdict(one))
        answers = "" if one.answers is None else _cell(one.answers, one.answers_increase)
        print(f"{one.name:28} {one.megabytes:7.1f} {_cell(one.text, one.text_increase)} {answers}")
    print(json.dumps(found))


def _cell(value: float, increase: float | None) -> str:
    return f"{value:8.4f} {increase or 0:+8.2%}"


if __name__ == "__main__":
    run_command(lambda: typer.run(main))
