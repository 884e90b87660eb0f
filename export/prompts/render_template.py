"""Chat templates rendered in a process of their own, which is held to limits."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from llava_edge.errors import CheckpointError
from llava_edge.export.prompts.chat_files import ChatTemplate

SECONDS = 20  # for all conversations together; a template takes milliseconds
_SANDBOX = Path(__file__).with_name("sandbox.py")


@dataclass(frozen=True)
class Conversation:
    """Messages in the form that chat templates take; `open` asks for an answer to the last."""

    messages: Sequence[Mapping[str, Any]]
    open: bool


@dataclass(frozen=True)
class TemplateRenderer:
    """Renders one chat template.

    `variables` are what else the template sees, such as `bos_token`; `now` is the time it is told.
    """

    template: ChatTemplate
    variables: Mapping[str, str] = field(default_factory=dict)
    now: datetime = field(default_factory=datetime.now)
    seconds: int = SECONDS

    def __call__(self, conversations: Sequence[Conversation]) -> list[str | None]:
        """The text of each conversation, None for those that the template refuses.

        Raises CheckpointError for a template that is broken or takes too much time or memory.
        """
        given = {
            "template": self.template.text,
            "seconds": self.seconds,
            "requests": [self._request(conversation) for conversation in conversations],
        }
        found = self._run(json.dumps(given))
        if "error" in found:
            raise self._refusal(found["error"])
        texts: list[str | None] = found["texts"]
        return texts

    def _request(self, conversation: Conversation) -> dict[str, Any]:
        """What the template sees; transformers gives it tools and documents too."""
        return {
            "tools": None,
            "documents": None,
            **self.variables,
            "messages": conversation.messages,
            "add_generation_prompt": conversation.open,
            "now": self.now.isoformat(),
        }

    def _run(self, given: str) -> dict[str, Any]:
        try:
            ended = subprocess.run(
                [sys.executable, "-I", str(_SANDBOX)],
                input=given.encode(),
                capture_output=True,
                timeout=2 * self.seconds,
                check=True,
            )
            found: dict[str, Any] = json.loads(ended.stdout)
        except subprocess.TimeoutExpired:
            raise self._refusal(f"it takes more than {self.seconds} seconds") from None
        except subprocess.CalledProcessError as error:
            raise self._refusal(_reason(error, self.seconds)) from None
        return found

    def _refusal(self, reason: str) -> CheckpointError:
        return CheckpointError(
            f"{self.template.path} cannot be rendered as a chat template "
            f"({reason.removesuffix('.')}); correct it, or choose a format with --prompt."
        )


def _reason(error: subprocess.CalledProcessError, seconds: int) -> str:
    """Why the process ended; its last words are a traceback's."""
    if error.returncode < 0:  # by a signal, such as that of its limit
        return f"it takes more than {seconds} seconds, or too much memory"
    said = error.stderr.decode(errors="replace").strip().splitlines()
    return said[-1] if said else "its process ended"
