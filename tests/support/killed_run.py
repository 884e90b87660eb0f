"""Trains a recipe and is killed on the way: `python killed_run.py RECIPE PLACE COUNT`.

PLACE is a function of the module trainer or of StageTrainer; the process dies, as by kill -9,
when it is called for the COUNT-th time. Of several processes the last one dies.
"""

import os
import signal
import sys
from pathlib import Path

from llava_edge.train.engine import trainer
from llava_edge.train.train import train


def die_in(place: str, count: int) -> None:
    owner = trainer if hasattr(trainer, place) else trainer.StageTrainer
    original, calls = getattr(owner, place), []

    def dying(*args: object, **kwargs: object) -> object:
        calls.append(place)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*args, **kwargs)

    setattr(owner, place, dying)


if __name__ == "__main__":
    recipe, place, count = sys.argv[1:]
    if int(os.environ.get("RANK", "0")) == int(os.environ.get("WORLD_SIZE", "1")) - 1:
        die_in(place, int(count))
    train(Path(recipe))
