"""`llava-edge chat`: its flags, which are the fields of Options and what load takes."""

import math
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from llava_edge.errors import UsageError


class WhenFull(StrEnum):
    """What happens when a conversation fills the context."""

    error = "error"
    shift = "shift"


def chat(
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle's folder.", show_default="the demo's")
    ] = None,
    image: Annotated[
        list[Path] | None, typer.Option(help="A picture to talk about; may be repeated.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="Ask this, print the answer and end.")] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON line with text and timings.")
    ] = False,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, webgpu, tensorrt-rtx or openvino.")
    ] = "auto",
    context: Annotated[
        int | None, typer.Option(help="The longest conversation, in tokens.")
    ] = None,
    gpu_memory: Annotated[
        float | None, typer.Option(help="The most to take on a GPU, in GB.", show_default="all")
    ] = None,
    when_full: Annotated[
        WhenFull, typer.Option(help="A full context is an error, or the oldest turns are dropped.")
    ] = WhenFull.error,
    image_tokens: Annotated[
        int | None, typer.Option(help="Keep only so many of each picture's tokens.")
    ] = None,
    max_tokens: Annotated[int, typer.Option(help="The longest answer, in tokens.")] = 512,
    timeout: Annotated[float | None, typer.Option(help="The longest answer, in seconds.")] = None,
    stop: Annotated[
        list[str] | None, typer.Option(help="End an answer before these words; may be repeated.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 always takes the likeliest token.")] = 0.0,
    top_k: Annotated[
        int, typer.Option(help="Draw among this many of the likeliest tokens; 0: all.")
    ] = 0,
    top_p: Annotated[
        float, typer.Option(help="Draw among the likeliest tokens of this probability.")
    ] = 1.0,
    min_p: Annotated[
        float, typer.Option(help="Draw among tokens this probable beside the likeliest.")
    ] = 0.0,
    seed: Annotated[int | None, typer.Option(help="Makes drawn answers repeatable.")] = None,
    repetition_penalty: Annotated[
        float, typer.Option(help="Above 1, what was written is less likely to come again.")
    ] = 1.0,
    frequency_penalty: Annotated[
        float, typer.Option(help="Taken off for each time that a token was answered.")
    ] = 0.0,
    presence_penalty: Annotated[
        float, typer.Option(help="Taken off once where a token was answered.")
    ] = 0.0,
    logit_bias: Annotated[
        list[str] | None, typer.Option(help="ID=VALUE is added to a token's logit; repeatable.")
    ] = None,
    logprobs: Annotated[
        int | None, typer.Option(help="With --json: log probabilities, and of so many likeliest.")
    ] = None,
    schema: Annotated[
        Path | None, typer.Option(help="A file with the JSON schema that the answer keeps to.")
    ] = None,
    regex: Annotated[
        str | None, typer.Option(help="A regular expression that the whole answer matches.")
    ] = None,
    choice: Annotated[
        list[str] | None, typer.Option(help="The answer is one of these; may be repeated.")
    ] = None,
    speculate: Annotated[
        bool, typer.Option("--speculate", help="Guess what was written before: prompt lookup.")
    ] = False,
) -> None:
    """Talk about pictures at the terminal."""
    from llava_edge.cli import terminal
    from llava_edge.runtime.model import load
    from llava_edge.runtime.options import Options

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
        logit_bias={_id(name): value for name, value in pairs("logit-bias", logit_bias).items()},
        logprobs=logprobs,
        schema=_text("schema", schema),
        regex=regex,
        choices=tuple(choice or ()),
        image_tokens=image_tokens,
        when_full=when_full.value,
        speculate=speculate,
    )
    if gpu_memory is not None and not 0 < gpu_memory < math.inf:
        raise UsageError(f"--gpu-memory is {gpu_memory}; give GB, more than 0.")
    most = None if gpu_memory is None else int(gpu_memory * 1e9)
    model = load(bundle, device, context=context, gpu_memory=most)
    if prompt is None:
        terminal.converse(model, image or [], options)
    else:
        terminal.answer_once(model, prompt, image or [], options, as_json=json)


def pairs(option: str, given: list[str] | None, example: str = "42=-100") -> dict[str, float]:
    """NAME=VALUE pairs; raises UsageError."""
    pairs = {}
    for pair in given or ():
        name, _, value = pair.partition("=")
        try:
            pairs[name] = float(value)
        except ValueError:
            raise UsageError(
                f'--{option} is "{pair}", but NAME=VALUE was expected, such as {example}.'
            ) from None
    return pairs


def _id(name: str) -> int:
    try:
        return int(name)
    except ValueError:
        raise UsageError(
            f'--logit-bias names the token "{name}", but the number of one was expected.'
        ) from None


def _text(option: str, path: Path | None) -> str | None:
    """A text file that an option names."""
    try:
        return None if path is None else path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--{option} {path} cannot be read ({error}); name a text file.") from None
