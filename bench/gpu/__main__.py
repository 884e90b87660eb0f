"""`python -m llava_edge.bench.gpu`: reads flags, runs parts while there is time, and reports."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from llava_edge.bench.gpu.campaign import Campaign, open_folder
from llava_edge.bench.gpu.campaign_plots import draw
from llava_edge.bench.gpu.campaign_report import (
    TABLE,
    CampaignReport,
    as_table,
    report,
    title,
    write_report,
)
from llava_edge.bench.gpu.parts import CampaignPart, all_parts, choose, left_for_later
from llava_edge.bench.gpu.run_parts import run_parts
from llava_edge.core.exit_on_error import run_command
from llava_edge.errors import DeviceError, LlavaEdgeError, UsageError
from llava_edge.runtime.devices.onnx_session import prepare


def main(
    out: Annotated[
        Path | None, typer.Option(help="The campaign's folder, in which it continues.")
    ] = None,
    size: Annotated[
        Literal["full", "tiny"], typer.Option(help="Of the models: 7B and 2B, or tiny ones.")
    ] = "full",
    device: Annotated[
        Literal["cuda", "cpu"],
        typer.Option(help="cpu runs the graphs for GPUs, at tiny size."),
    ] = "cuda",
    seconds: Annotated[int, typer.Option(min=1, help="After this time the call ends.")] = 540,
    parts: Annotated[
        str | None, typer.Option(help="Some of them, with commas.", show_default="all")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="A bundle for cpu and gpu that is compared as well.")
    ] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="What it was exported from.")] = None,
    base: Annotated[
        Path | None, typer.Option(help="Language model that an adapter was trained on.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Run once more what failed or left something out.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="Print what the parts measure.")] = False,
) -> None:
    """Measure everything on a GPU, in parts; the same command continues after a stop."""
    chosen = choose(parts)
    if list_:
        _list(chosen)
        return
    if out is None:
        raise UsageError("No folder is given for the results; name one with --out.")
    if device == "cpu" and size == "full":
        raise UsageError("At full size a CPU would need days; give --size tiny with --device cpu.")
    given = (path.resolve() if path else None for path in (bundle, checkpoint, base))
    campaign = Campaign(out.resolve(), size, device, *given)
    _check_gpu(campaign)
    open_folder(campaign)
    run_parts(campaign, chosen, seconds, again=again, tell=lambda line: print(line, flush=True))
    found = report(campaign, all_parts())
    write_report(campaign, found)
    print("\n" + as_table(found))
    _draw(campaign, found)
    print(_ending(campaign, chosen))


def _list(parts: list[CampaignPart]) -> None:
    for part in parts:
        print(f"{part.name:22} {part.seconds:4} s  {part.asks}")


def _check_gpu(campaign: Campaign) -> None:
    try:
        prepare(campaign.gpu)
    except DeviceError as error:
        raise DeviceError(
            f"There is no GPU to measure: {error} `--device cpu --size tiny` tries the command "
            "without one."
        ) from error


def _draw(campaign: Campaign, found: CampaignReport) -> None:
    try:
        draw(found.parts, title(found), campaign.folder)
    except (LlavaEdgeError, OSError) as error:
        print(f"Nothing is drawn: {error}")


def _ending(campaign: Campaign, parts: list[CampaignPart]) -> str:
    left = left_for_later(campaign, parts)
    if not left:
        return f"All parts have run; {campaign.folder / TABLE} is the table."
    longest = max(part.estimate(campaign) for part in left)
    return (
        f"{len(left)} parts are left, the longest of which takes about {longest} s; run the same "
        "command again."
    )


if __name__ == "__main__":
    run_command(lambda: typer.run(main))
