"""`llava-edge bench`: its verbs, which read flags, import late and call one function."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from llava_edge.errors import UsageError

app = typer.Typer(help="Measure bundles and training on this machine.", no_args_is_help=True)

BundleArgument = Annotated[
    Path | None, typer.Argument(help="The bundle's folder.", show_default="the demo's")
]


@app.command()
def latency(
    bundle: BundleArgument = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to ask about; may be repeated.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What is asked.")] = "Describe the picture in detail.",
    tokens: Annotated[int, typer.Option(min=2, help="Decoded at each context, in a run.")] = 32,
    runs: Annotated[int, typer.Option(min=1, help="After one that warms up.")] = 5,
    contexts: Annotated[
        str | None,
        typer.Option(help="Tokens before those decoded.", show_default="128,600,2048: what fits"),
    ] = None,
    device: Annotated[str, typer.Option(help="As for chat.")] = "auto",
    plot: Annotated[Path | None, typer.Option(help="Draw the result, such as out.png.")] = None,
    json_out: Annotated[Path | None, typer.Option(help="Write the JSON line to a file.")] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Measure nothing; compare two files of --json-out.", metavar="A B"),
    ] = None,
) -> None:
    """Time the stages of an answer, beside what the machine allows."""
    from llava_edge.bench.latency import as_json, measure

    if compare is not None:
        _compare(*compare)
        return
    _check_folders(plot, json_out)
    found = measure(
        bundle,
        image or [],
        prompt,
        tokens=tokens,
        runs=runs,
        contexts=_numbers(contexts),
        device=device,
    )
    from llava_edge.bench.tables import latency_table

    text = as_json(found)
    if json_out is not None:
        json_out.write_text(text + "\n", encoding="utf-8")
    if plot is not None:
        from llava_edge.bench.latency_plot import plot_latency

        plot_latency(found, plot)
    Console(highlight=False, markup=False).print(latency_table(found))
    print(text)


def _compare(first: Path, second: Path) -> None:
    from dataclasses import asdict
    from json import dumps

    from llava_edge.bench.compare_latency import compare, warning
    from llava_edge.bench.latency import read_latency
    from llava_edge.bench.tables import comparison_table

    one, other = read_latency(first), read_latency(second)
    if sentence := warning(one, other):
        print(f"Warning: {sentence}", file=sys.stderr)
    changes = list(compare(one, other))
    Console(highlight=False, markup=False).print(comparison_table(changes, first.stem, second.stem))
    print(dumps([asdict(change) for change in changes]))


def _check_folders(*files: Path | None) -> None:
    """What is written in the end must have a folder to go to."""
    for file in files:
        if file is not None and not file.resolve().parent.is_dir():
            raise UsageError(
                f"{file} cannot be written, since its folder is missing; make it first."
            )


def _numbers(listed: str | None) -> list[int] | None:
    """The numbers of a list with commas."""
    try:
        return None if listed is None else [int(number) for number in listed.split(",")]
    except ValueError:
        raise UsageError(
            f'--contexts is "{listed}", but numbers with commas were expected, such as 128,600.'
        ) from None


@app.command()
def peers(
    bundle: BundleArgument = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to ask about; may be repeated.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What is asked.")] = "Describe the picture in detail.",
    peers: Annotated[
        str, typer.Option(help="Whom to compare with.")
    ] = "llama.cpp,transformers,onnxruntime-genai",
    gguf: Annotated[
        Path | None, typer.Option(help="The language model in float32, for llama.cpp.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="What the bundle was exported from, for transformers.")
    ] = None,
    base: Annotated[str | None, typer.Option(help="As for export.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="Rounds after one that warms up.")] = 5,
    device: Annotated[str, typer.Option(help="Of the bundle; peers run on the CPU.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Write all that was measured, as JSON.")] = None,
) -> None:
    """Ask other runtimes the same, in turns, on the same cores."""
    from dataclasses import asdict
    from json import dumps
    from tempfile import TemporaryDirectory

    from llava_edge.bench.peers.choose import Weights, choose_peers
    from llava_edge.bench.peers.compare_peers import PeerComparison, compare_peers, our_settings
    from llava_edge.bench.peers.peer_results import Sizes
    from llava_edge.bench.peers.peers_table import peers_table
    from llava_edge.bench.runtime_calls import open_bundle

    if not image:
        raise UsageError("No picture is given to ask about; name one with --image.")
    wanted = [name.strip() for name in peers.split(",") if name.strip()]
    _check_folders(out)
    plan = PeerComparison(image, prompt, runs, Sizes())
    model = open_bundle(bundle, device)
    with TemporaryDirectory() as folder:
        chosen, left_out = choose_peers(
            wanted, Weights(gguf, checkpoint, base), our_settings(model, plan.sizes), Path(folder)
        )
        results = compare_peers(model, chosen, plan, left_out)
    text = dumps(asdict(results))
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    Console(highlight=False, markup=False).print(peers_table(results))
    print(text)


@app.command()
def training(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a shipped recipe.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE over the recipe's own; may be repeated."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(help="stage1 or stage2.", show_default="the last")
    ] = None,
    records: Annotated[int, typer.Option(min=1, help="How many of the stage's, at most.")] = 320,
    rounds: Annotated[int, typer.Option(min=1, help="After one that warms up.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimizer, a round.")] = 2,
    out: Annotated[Path | None, typer.Option(help="Write all that was measured, as JSON.")] = None,
) -> None:
    """Train a stage in turns with a plain transformers Trainer."""
    from dataclasses import asdict
    from json import dumps

    from llava_edge.core.extras import needed_by

    _check_folders(out)
    with needed_by("`llava-edge bench training`", "train"):
        import torch  # noqa: F401

    from llava_edge.bench.training.compare_training import TrainingComparison, compare_training
    from llava_edge.bench.training.training_table import training_table

    plan = TrainingComparison(recipe, tuple(overrides or ()), stage, records, rounds, steps)
    results = compare_training(plan)
    text = dumps(asdict(results))
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
    Console(highlight=False, markup=False).print(training_table(results))
    print(text)
