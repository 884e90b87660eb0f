"""Captions as samples of stage 1, under the paper's brief instructions."""

import hashlib
import json

from llava_edge.core.prompt import IMAGE

# The paper's list (arXiv 2304.08485, table 11): one meaning in several words.
BRIEF_INSTRUCTIONS = (
    "Describe the image concisely.",
    "Provide a brief description of the given image.",
    "Offer a succinct explanation of the picture presented.",
    "Summarize the visual content of the image.",
    "Give a short and clear explanation of the subsequent image.",
    "Share a concise interpretation of the image provided.",
    "Present a compact description of the photo's key features.",
    "Relay a brief, clear account of the picture shown.",
    "Render a clear and concise summary of the photo.",
    "Write a terse but informative summary of the picture.",
    "Create a compact narrative representing the image presented.",
)


def caption_sample(key: str, caption: str) -> str:
    """A caption as the JSON text of a stage 1 sample; the key chooses the instruction."""
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")
    question = f"{IMAGE}\n{BRIEF_INSTRUCTIONS[number % len(BRIEF_INSTRUCTIONS)]}"
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": caption.strip()}]
    return json.dumps({"id": key, "conversations": turns}, ensure_ascii=False)
