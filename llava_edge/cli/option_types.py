"""Options and arguments that several verbs share."""

from inspect import signature
from pathlib import Path
from typing import Annotated, TypeAlias, get_args

import typer

from llava_edge.core.bundle_config import DeviceName
from llava_edge.core.weight_formats import Method
from llava_edge.runtime.devices.device import NAMES
from llava_edge.runtime.expected_memory import DEFAULT_CONTEXT
from llava_edge.runtime.load import load

DEVICE = signature(load).parameters["device"].default
GRAPHS = ",".join(get_args(DeviceName))

BUNDLE_HELP = "Name of a bundle that `llava-edge list` prints, or the folder of one."
DEFAULT_BUNDLE = "$LLAVA_EDGE_BUNDLE, or else the demo bundle"

BundleArgument: TypeAlias = Annotated[
    str | None, typer.Argument(help=BUNDLE_HELP, show_default=DEFAULT_BUNDLE)
]
BundleOption: TypeAlias = Annotated[
    str | None,
    typer.Option(metavar="BUNDLE", help=BUNDLE_HELP, show_default=DEFAULT_BUNDLE),
]
CheckpointArgument: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Folder of a LLaVA checkpoint, or its name on the Hugging Face Hub (org/name)."
    ),
]
RecipeArgument: TypeAlias = Annotated[
    str, typer.Argument(help="Recipe: a TOML file, or the name of one that comes with llava-edge.")
]
JsonOption: TypeAlias = Annotated[
    bool, typer.Option("--json", help="Print the result as one line of JSON.")
]
DeviceOption: TypeAlias = Annotated[
    str,
    typer.Option(
        help=f"Device that computes, one of {', '.join(NAMES)}. auto takes a GPU if one computes "
        "the bundle correctly, and the CPU otherwise."
    ),
]
ContextOption: TypeAlias = Annotated[
    int | None,
    typer.Option(
        help="Longest conversation, in tokens.",
        show_default=f"{DEFAULT_CONTEXT:,}, or less if model or memory allow only that",
    ),
]
GpuMemoryOption: TypeAlias = Annotated[
    float | None,
    typer.Option(
        help="Most memory to take on a GPU, in gigabytes.", show_default="all that is free"
    ),
]
BaseOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Language model that an adapter or a projector was trained on: a folder, a GGUF file, "
        "or a name on the Hub (org/name)."
    ),
]
VisionTowerOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Vision tower to use where the checkpoint only names one or holds a part of it: a "
        "folder, or a name on the Hub (org/name)."
    ),
]
MethodOption: TypeAlias = Annotated[
    Method,
    typer.Option(
        metavar="METHOD",
        help="How the weights of the language model's linear layers become 4 bits: "
        f"{', '.join(get_args(Method))}, where none leaves them as they are.",
    ),
]
MixedOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--mixed", help="Measure which layers lose most at 4 bits, and keep 8 bits there."
    ),
]
GraphsOption: TypeAlias = Annotated[
    str,
    typer.Option(help="Devices to write graphs for, with commas between them."),
]
PromptFormatOption: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Name of the prompt format, such as vicuna_v1.", show_default="the checkpoint's"
    ),
]
VerifyOption: TypeAlias = Annotated[
    bool | None,
    typer.Option(
        "--verify/--no-verify",
        help="Compare the bundle with the checkpoint, and keep it only if it is close enough.",
        show_default="compare if torch is installed and memory allows it",
    ),
]
RecordsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="LLaVA records to measure on, instead of pictures that are drawn for it."),
]
ImagesOption: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the records' pictures.", show_default="the folder of the records"
    ),
]
LimitOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=VALUE: allow this much difference from the checkpoint instead of the usual "
        "limit, for example kl_mean=0.1. May be given several times."
    ),
]
AcceptOption: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--accept", help="Keep a bundle that breaks a limit, and record that in bundle.json."
    ),
]
ImageOption: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(help="Picture to ask about. May be given several times."),
]
QuestionOption: TypeAlias = Annotated[
    str, typer.Option("--prompt", help="Question about the picture.")
]
SetOption: TypeAlias = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="KEY=VALUE: change a value of the recipe, for example stage2.epochs=2. May be given "
        "several times.",
    ),
]
OutOption: TypeAlias = Annotated[
    Path | None, typer.Option(help="File for all that was measured, as JSON.")
]
