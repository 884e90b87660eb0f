"""Answers questions on all machines of a Ray cluster: `llava-edge ask` where one is not enough.

    python examples/cluster/ask_with_ray.py questions.jsonl --out answers.jsonl \
        --bundle /shared/bundle --images /shared/pictures --workers 2

Each worker loads the bundle once. The bundle and the pictures must be at the same paths on every
machine. Answers are written in the order of their questions, and a run that was ended goes on.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import ray

from llava_edge import Options, load
from llava_edge.ask.answers_file import AnswersFile
from llava_edge.ask.ask import PARALLEL, answers, settings_of
from llava_edge.ask.questions import question_of
from llava_edge.core.bundle import find_bundle
from llava_edge.data.json_stream import decode
from llava_edge.data.picture_folder import PictureFolder
from llava_edge.data.records import Data

BATCH = 4 * PARALLEL  # questions that a worker is given at once


class Asker:
    """A worker of the cluster, with the bundle loaded."""

    def __init__(self, bundle: Path, images: Path, options: Options) -> None:
        self._model = load(bundle, contexts=PARALLEL)
        self._folder = PictureFolder(images)
        self._options = options

    def __call__(self, batch: dict[str, "np.ndarray[Any, Any]"]) -> dict[str, list[str]]:
        """Lines of questions -> lines of answers."""
        questions = [question_of(decode(str(line)), self._folder) for line in batch["text"]]
        rows = answers(self._model, questions, None, self._options, PARALLEL)
        return {"answer": [json.dumps(row, ensure_ascii=False) for row in rows]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("questions", type=Path, help="a JSONL file; each question has an id")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bundle", help="by default the demo's")
    parser.add_argument("--images", type=Path, help="by default the questions' folder")
    parser.add_argument("--workers", type=int, default=2, help="each loads the bundle")
    parser.add_argument("--cores", type=float, default=0.5, help="that Ray counts for a worker")
    parser.add_argument("--max-tokens", type=int, default=128)
    given = parser.parse_args()
    bundle, options = find_bundle(given.bundle), Options(max_tokens=given.max_tokens)
    data = Data((given.questions,), given.images or given.questions.parent)
    file = AnswersFile(given.out, settings_of(bundle, data, None, options))
    ray.data.DataContext.get_current().execution_options.preserve_order = True
    done = ids_in(given.out)
    lines = ray.data.read_text(str(given.questions.resolve()))
    asked = lines.filter(lambda row: decode(row["text"])["id"] not in done).map_batches(
        Asker,
        fn_constructor_args=(bundle.resolve(), data.images.resolve(), options),
        batch_size=BATCH,
        compute=ray.data.ActorPoolStrategy(size=given.workers),
        num_cpus=given.cores,
    )
    for row in asked.iter_rows():
        file.append(json.loads(row["answer"]))
    file.close()


def ids_in(answers: Path) -> set[object]:
    """The ids of the questions that are answered already."""
    return {json.loads(line)["id"] for line in answers.read_text(encoding="utf-8").splitlines()}


if __name__ == "__main__":
    main()
