"""`llava-edge chat`: its flags are the fields of Options and what `load` takes."""

from pathlib import Path
from typing import Annotated, get_args, get_type_hints

import typer

from llava_edge.cli.option_types import (
    DEVICE,
    BundleOption,
    ContextOption,
    DeviceOption,
    GpuMemoryOption,
)
from llava_edge.cli.option_values import gigabytes, pairs, text_of
from llava_edge.errors import UsageError
from llava_edge.runtime.load import load
from llava_edge.runtime.options import DEFAULTS, Options

WHEN_FULL = get_args(get_type_hints(Options)["when_full"])


def chat(
    bundle: BundleOption = None,
    image: Annotated[
        list[Path] | None,
        typer.Option(help="Picture to talk about. May be given several times."),
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="Ask this, print the answer and end, instead of a conversation."),
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(
            help="Words that say how to answer.", show_default="those of the prompt format"
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="With --prompt: print answer and timings as one line of JSON."),
    ] = False,
    device: DeviceOption = DEVICE,
    context: ContextOption = None,
    gpu_memory: GpuMemoryOption = None,
    when_full: Annotated[
        str,
        typer.Option(
            metavar="|".join(WHEN_FULL),
            help="What happens when the conversation fills the context: the answer ends with an "
            "error, or the conversation shifts: its oldest turns are forgotten.",
        ),
    ] = DEFAULTS.when_full,
    image_tokens: Annotated[
        int | None,
        typer.Option(
            help="Keep only this many image tokens of each picture. Fewer are faster and show less "
            "detail.",
            show_default="all",
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(help="Longest answer, in tokens.")
    ] = DEFAULTS.max_tokens,
    timeout: Annotated[
        float | None,
        typer.Option(help="Longest time for an answer, in seconds. What was said by then is kept."),
    ] = DEFAULTS.timeout,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End the answer before this text. May be given several times."),
    ] = None,
    temperature: Annotated[
        float,
        typer.Option(
            help="How far the answer may stray from the likeliest tokens. 0 always takes the "
            "likeliest one."
        ),
    ] = DEFAULTS.temperature,
    top_k: Annotated[
        int,
        typer.Option(help="Draw only from this many of the likeliest tokens. 0 draws from all."),
    ] = DEFAULTS.top_k,
    top_p: Annotated[
        float,
        typer.Option(
            help="Draw only from the likeliest tokens whose probabilities add up to this."
        ),
    ] = DEFAULTS.top_p,
    min_p: Annotated[
        float,
        typer.Option(
            help="Draw only from tokens whose probability is at least this share of the likeliest "
            "token's."
        ),
    ] = DEFAULTS.min_p,
    seed: Annotated[
        int | None, typer.Option(help="The same seed draws the same answer again.")
    ] = DEFAULTS.seed,
    repetition_penalty: Annotated[
        float,
        typer.Option(
            help="Above 1: tokens that are in the prompt or the answer already become less likely."
        ),
    ] = DEFAULTS.repetition_penalty,
    frequency_penalty: Annotated[
        float,
        typer.Option(
            help="Taken off a token's logit for each time that it is in the answer already."
        ),
    ] = DEFAULTS.frequency_penalty,
    presence_penalty: Annotated[
        float,
        typer.Option(help="Taken off a token's logit once if it is in the answer already."),
    ] = DEFAULTS.presence_penalty,
    logit_bias: Annotated[
        list[str] | None,
        typer.Option(
            help="ID=VALUE: add VALUE to the logit of the token with this id. May be given several "
            "times."
        ),
    ] = None,
    logprobs: Annotated[
        int | None,
        typer.Option(
            help="With --json: print the log probability of every token, and of this many of the "
            "likeliest tokens beside it."
        ),
    ] = DEFAULTS.logprobs,
    schema: Annotated[
        Path | None, typer.Option(help="File with a JSON schema that the answer must follow.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="Regular expression that the whole answer must match.")
    ] = DEFAULTS.regex,
    choice: Annotated[
        list[str] | None,
        typer.Option(help="Answer that is allowed. Give the option once for each of them."),
    ] = None,
    speculate: Annotated[
        bool,
        typer.Option(
            "--speculate",
            help="Guess the next tokens from what was written before, and check several at once. "
            "This is faster where an answer repeats its prompt.",
        ),
    ] = DEFAULTS.speculate,
) -> None:
    """Talk about pictures at the terminal."""
    from llava_edge.cli import terminal

    if prompt is None and (json or logprobs is not None):
        raise UsageError("--json and --logprobs are for one answer; say with --prompt what to ask.")
    options = Options(
        max_tokens=max_tokens,
        timeout=timeout,
        stop=tuple(stop or ()),
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        seed=seed,
        repetition_penalty=repetition_penalty,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        logit_bias=_biases(logit_bias),
        logprobs=logprobs,
        schema=text_of("schema", schema),
        regex=regex,
        choices=tuple(choice or ()),
        image_tokens=image_tokens,
        when_full=when_full,  # type: ignore[arg-type]  # checked there
        speculate=speculate,
    )
    most = gigabytes("gpu-memory", gpu_memory)
    with terminal.shown_loading() as progress:
        model = load(bundle, device, context=context, gpu_memory=most, progress=progress)
    if prompt is None:
        terminal.converse(model, image or [], options, system)
    else:
        terminal.answer_once(model, prompt, image or [], options, system, as_json=json)


def _biases(given: list[str] | None) -> dict[int, float]:
    return {_id(name): value for name, value in pairs("logit-bias", given, "42=-100").items()}


def _id(name: str) -> int:
    try:
        return int(name)
    except ValueError:
        raise UsageError(
            f'--logit-bias names the token "{name}", but the number of one was expected.'
        ) from None
