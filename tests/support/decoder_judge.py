"""A prompt with a picture in its middle, as transformers reads it."""

import numpy as np
import torch
from sessions import Sessions
from transformers import LlavaForConditionalGeneration

BEFORE, AFTER = [7, 30, 31], [100, 9, 280, 77, 5]  # ids around the picture


class Judge:
    """transformers' model with a prompt that has a picture in its middle."""

    def __init__(self, model: LlavaForConditionalGeneration) -> None:
        self.model = model
        side = model.config.vision_config.image_size
        self.pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))

    def ids(self, image_tokens: int) -> torch.Tensor:
        picture = [self.model.config.image_token_id] * image_tokens
        return torch.tensor([BEFORE + picture + AFTER])

    def logits(self, image_tokens: int) -> np.ndarray:
        """[S, V]"""
        with torch.no_grad():
            output = self.model(input_ids=self.ids(image_tokens), pixel_values=self.pixels)
        return output.logits[0].numpy()

    def greedy(self, image_tokens: int, steps: int) -> list[int]:
        ids = self.ids(image_tokens)
        with torch.no_grad():
            for _ in range(steps):
                logits = self.model(input_ids=ids, pixel_values=self.pixels).logits[0, -1]
                ids = torch.cat([ids, logits.argmax()[None, None]], dim=1)
        return ids[0, -steps:].tolist()


def prompt_rows(sessions: Sessions, judge: Judge) -> np.ndarray:
    """The judge's prompt as inputs_embeds [S, D]."""
    table = sessions.embedding_table()
    (picture,) = sessions.image_embeds(judge.pixels.numpy())
    return np.concatenate([table[BEFORE], picture, table[AFTER]])
