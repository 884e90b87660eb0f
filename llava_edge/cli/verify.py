"""`llava-edge verify`."""

from dataclasses import asdict
from json import dumps
from typing import Annotated

import typer

from llava_edge.cli.option_types import (
    BUNDLE_HELP,
    AcceptOption,
    BaseOption,
    ImagesOption,
    JsonOption,
    LimitOption,
    RecordsOption,
    VisionTowerOption,
)
from llava_edge.cli.option_values import limits, records_of
from llava_edge.cli.quality_table import print_quality
from llava_edge.core.bundle_config import BundleConfig
from llava_edge.core.extras import needed_by


def verify(
    bundle: Annotated[str, typer.Argument(help=BUNDLE_HELP)],
    against: Annotated[
        str,
        typer.Option(
            help="Checkpoint that the bundle was exported from: a folder, or a name on the Hub "
            "(org/name)."
        ),
    ],
    base: BaseOption = None,
    vision_tower: VisionTowerOption = None,
    records: RecordsOption = None,
    images: ImagesOption = None,
    limit: LimitOption = None,
    accept: AcceptOption = False,
    json: JsonOption = False,
) -> None:
    """Compare a bundle with its checkpoint, on the same pictures and prompts."""
    with needed_by("`llava-edge verify`", "verify"):
        from llava_edge.export.progress_bars import show_progress
        from llava_edge.export.quality_limits import refuse_broken
        from llava_edge.export.verify import verify
    with show_progress():
        config = verify(
            bundle,
            against,
            base=base,
            vision_tower=vision_tower,
            data=records_of(records, images),
            limits=limits(limit),
            accept=accept,
        )
    _print(config, as_json=json)
    refuse_broken(config)


def _print(config: BundleConfig, *, as_json: bool) -> None:
    if as_json and config.quality is not None:
        typer.echo(dumps(asdict(config.quality)))
    else:
        print_quality(config)
