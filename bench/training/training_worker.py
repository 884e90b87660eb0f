"""The process of one candidate, which trains a few steps when it is asked."""

import json
import sys
from dataclasses import asdict, dataclass
from typing import Any

from llava_edge.bench.training.candidates import TrainingCandidate, ours, plain
from llava_edge.bench.training.given import Given, TrainingSettings, read
from llava_edge.bench.training.meter import Meter
from llava_edge.bench.worker_process import send_error, take_stdout
from llava_edge.core.strict import parse


@dataclass(frozen=True)
class Greeting:
    """What is known before the first step."""

    first_loss: float  # of the first records, the same ones for every candidate
    feature_seconds: float | None  # a picture, of the tower before training
    peak_operations: float  # that the device could do in a second
    threads: int
    gpu: str | None


def serve() -> None:
    """Open the candidate of the only argument, greet, and train block by block."""
    out = take_stdout()
    try:
        settings = parse(TrainingSettings, json.loads(sys.argv[1]))
        given = read(settings)
        candidate = plain(given) if settings.plain else ours(given)
        print(json.dumps(asdict(_greet(candidate, given))), file=out)
        from llava_edge.train.watch.flops import training_cost

        cost = training_cost(given.model.llava, given.data.image_size, cached=given.data.cached)
        Meter(candidate.model, cost, out).wait()
        candidate.train()
    except Exception as error:  # said by the process that asks
        send_error(error, out)


def _greet(candidate: TrainingCandidate, given: Given) -> Greeting:
    import torch

    from llava_edge.train.models.learner import compute_dtype
    from llava_edge.train.watch.flops import peak_operations

    cuda = torch.cuda.is_available()
    device, dtype = torch.device("cuda" if cuda else "cpu"), compute_dtype(given.recipe)
    candidate.model.to(device)
    return Greeting(
        first_loss=_first_loss(candidate, given, device, dtype),
        feature_seconds=given.feature_seconds,
        peak_operations=peak_operations(device, dtype),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if cuda else None,
    )


def _first_loss(candidate: TrainingCandidate, given: Given, device: Any, dtype: Any) -> float:
    """The loss of the first micro batch, before anything has learnt."""
    import torch

    count = min(given.stage.split(1)[0], len(given.data))
    batch = candidate.collate([given.data[index] for index in range(count)])
    batch = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
    autocast = torch.autocast(device.type, dtype, enabled=dtype == torch.bfloat16)
    candidate.model.eval()  # without dropout; training turns it on again
    with torch.no_grad(), autocast:
        return float(candidate.model(**batch)["loss"])


if __name__ == "__main__":
    serve()
