"""`llava-edge bench serve`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from llava_edge.bench.defaults import PROMPT
from llava_edge.cli.option_types import DEVICE, BundleArgument, DeviceOption, QuestionOption
from llava_edge.cli.option_values import check_folders, numbers
from llava_edge.errors import UsageError


def serve(
    image: Annotated[Path, typer.Option(help="Picture to ask about.")],
    bundle: BundleArgument = None,
    prompt: QuestionOption = PROMPT,
    tokens: Annotated[int, typer.Option(min=2, help="Longest answer, in tokens.")] = 32,
    clients: Annotated[
        str, typer.Option(help="How many clients ask at once: numbers with commas.")
    ] = "1,2,4,8,16",
    rounds: Annotated[int, typer.Option(min=1, help="Number of times that all have a turn.")] = 3,
    parallel: Annotated[
        int, typer.Option(min=1, help="Answers that the server computes at once.")
    ] = 4,
    soak: Annotated[
        int,
        typer.Option(
            min=0,
            help="Number of short requests, a third of them given up, after which memory, threads "
            "and descriptors are looked at.",
        ),
    ] = 0,
    url: Annotated[
        str | None,
        typer.Option(
            help="Measure the server at this address instead, such as http://127.0.0.1:8081."
        ),
    ] = None,
    device: DeviceOption = DEVICE,
    json_out: Annotated[
        Path | None, typer.Option(help="File for the line of JSON that is printed last.")
    ] = None,
) -> None:
    """Put a server under load, and compare it with the API."""
    from llava_edge.bench.serving.serve_bench import serve_bench, serve_json
    from llava_edge.bench.serving.serve_load import LoadPlan
    from llava_edge.bench.serving.serve_tables import serve_table

    check_folders(json_out)
    if not image.is_file():
        raise UsageError(f"There is no picture {image}; name one with --image.")
    plan = LoadPlan(image, prompt, tokens, numbers("clients", clients) or ())
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("requests", total=soak or None, visible=bool(soak))
        found = serve_bench(
            bundle,
            plan,
            rounds=rounds,
            parallel=parallel,
            soak=soak,
            url=url,
            device=device,
            watch=lambda done: bar.update(task, completed=done),
        )
    text = serve_json(found)
    if json_out is not None:
        json_out.write_text(text + "\n", encoding="utf-8")
    Console(highlight=False, markup=False).print(serve_table(found))
    print(text)
