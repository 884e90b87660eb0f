"""`llava-edge serve`: its flags are the fields of ServeSettings and what `load` takes."""

import logging
import signal
from pathlib import Path
from typing import Annotated

import typer

from llava_edge.cli.option_types import (
    BUNDLE_HELP,
    DEFAULT_BUNDLE,
    DEVICE,
    ContextOption,
    DeviceOption,
    GpuMemoryOption,
)
from llava_edge.cli.option_values import gigabytes
from llava_edge.core.extras import needed_by
from llava_edge.serve.guards.guard_settings import GuardSettings
from llava_edge.serve.serve_settings import SERVE_DEFAULTS, ServeSettings


def serve(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            help=f"{BUNDLE_HELP} Of several, each is loaded when it is asked for.",
            show_default=DEFAULT_BUNDLE,
        ),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on. Other machines can reach 0.0.0.0.")
    ] = SERVE_DEFAULTS.guards.host,
    port: Annotated[
        int, typer.Option(help="Port to listen on. 0 takes any that is free.")
    ] = SERVE_DEFAULTS.port,
    alias: Annotated[
        str | None,
        typer.Option(help="Name of the model for clients.", show_default="the bundle's name"),
    ] = None,
    parallel: Annotated[
        int, typer.Option(help="Number of answers that are computed at a time. Others wait.")
    ] = SERVE_DEFAULTS.parallel,
    queue: Annotated[
        int, typer.Option(help="Number of questions that may wait. Further ones are refused.")
    ] = SERVE_DEFAULTS.queue,
    memory: Annotated[
        float | None,
        typer.Option(
            help="Most memory for models, in gigabytes. Where they need more, the one not used for "
            "longest is unloaded.",
            show_default="what is free",
        ),
    ] = None,
    unload_after: Annotated[
        float | None,
        typer.Option(
            help="Seconds without a question after which a model is unloaded.",
            show_default="never",
        ),
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            help="Longest answer, in tokens, whatever a client asks for.",
            show_default="what the context holds",
        ),
    ] = None,
    ping_seconds: Annotated[
        float,
        typer.Option(
            help="Seconds without an event, as while a long prompt is read, after which a comment "
            "keeps a stream alive."
        ),
    ] = SERVE_DEFAULTS.ping_seconds,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            help="File with API keys, one a line, of which clients must send one. The variable "
            "LLAVA_EDGE_API_KEYS may name more, with commas between them.",
            show_default="no key is asked for",
        ),
    ] = None,
    host_name: Annotated[
        list[str] | None,
        typer.Option(
            help="Further name that clients reach this server by. May be given several times."
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        typer.Option(
            help="Web page that may ask this server from a browser, such as "
            "http://localhost:3000. May be given several times."
        ),
    ] = None,
    picture_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host that pictures may be fetched from by https. May be given several times.",
            show_default="no picture is fetched",
        ),
    ] = None,
    ollama: Annotated[
        bool,
        typer.Option("--ollama", help="Serve Ollama's paths too, for programs that know no other."),
    ] = False,
    device: DeviceOption = DEVICE,
    context: ContextOption = None,
    gpu_memory: GpuMemoryOption = None,
) -> None:
    """Serve OpenAI's API, and a page to chat on, at an address of this machine."""
    with needed_by("The server", "serve"):
        from llava_edge.serve import serve as verb
        from llava_edge.serve.guards.api_keys import read_keys
        from llava_edge.serve.remote_pictures import RemotePictures

    guards = GuardSettings(
        host=host,
        host_names=frozenset(host_name or ()),
        origins=frozenset(origin or ()),
        keys=read_keys(api_key_file),
    )
    settings = ServeSettings(
        guards=guards,
        remote=RemotePictures(hosts=frozenset(picture_host)) if picture_host else None,
        port=port,
        parallel=parallel,
        queue=queue,
        memory=gigabytes("memory", memory),
        unload_after=unload_after,
        max_tokens=max_tokens,
        ollama=ollama,
        ping_seconds=ping_seconds,
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # Once the server has ended, Ctrl-C ends the process as SIGTERM does: Python's own way would
    # wait for, or trip over, a bundle that is still loading.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    verb.serve(
        bundles or (),
        device,
        context=context,
        gpu_memory=gigabytes("gpu-memory", gpu_memory),
        alias=alias,
        settings=settings,
    )
