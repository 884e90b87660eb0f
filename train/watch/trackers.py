"""Where a run's figures are also sent, by transformers' own callbacks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from transformers import TrainerCallback
from transformers.integrations import (
    get_available_reporting_integrations,
    get_reporting_integration_callbacks,
)
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from llava_edge.errors import TrainingError


def check_trackers(names: Sequence[str]) -> None:
    """Raise TrainingError for a name that transformers' `report_to` lacks or cannot use here."""
    for name in names:
        if name not in INTEGRATION_TO_CALLBACK:
            raise TrainingError(
                f"The recipe names {name} in report_to, which is not known; give one of "
                f"{', '.join(sorted(INTEGRATION_TO_CALLBACK))}."
            )
        if name not in get_available_reporting_integrations():
            raise TrainingError(
                f"The recipe names {name} in report_to, whose package is not installed; install it "
                f"(`pip install {name}`) or take the name out."
            )


@contextmanager
def trackers(names: Sequence[str]) -> Iterator[list[TrainerCallback]]:
    """One stage's callbacks; each stage is a run of its own, also with Weights & Biases.

    Raises TrainingError where Weights & Biases does not begin, such as without a login.
    """
    callbacks = [callback() for callback in get_reporting_integration_callbacks(list(names))]
    if "wandb" not in names:
        yield callbacks
        return
    import wandb

    try:
        yield callbacks
    except wandb.Error as error:
        raise TrainingError(
            f"Weights & Biases does not work ({' '.join(str(error).split())}); run `wandb login`, "
            "or set WANDB_MODE=offline."
        ) from error
    finally:
        wandb.finish()  # which its callback leaves to the end of the program
