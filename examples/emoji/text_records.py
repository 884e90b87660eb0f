"""Writes records without pictures: everyday questions, answered by the language model itself.

A share of them in stage 2 keeps the model's manners where no picture is shown. It answers under
the system words that it was tuned with, which the records then leave out.

python examples/emoji/text_records.py --language-model build/emoji/base --out build/emoji/text.json
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from llava_edge.core.prompt import CHATML, Text, WrittenMessage, render
from llava_edge.core.tokenizer import Tokenizer

PROMPT = replace(
    CHATML,
    opening="<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n",
)
MAX_TOKENS = 64
BATCH = 64
SUBJECTS = """\
the moon, rain, bread, gravity, the ocean, a volcano, photosynthesis, the heart, electricity,
a rainbow, friendship, sleep, vaccines, money, the internet, a bicycle, music, democracy,
glaciers, honey, chess, coffee, the Roman Empire, earthquakes, robots, painting, wind, a
library, football, dreams, magnets, tea, the desert, computers, whales, trees, history,
cooking, a telescope, paper, time zones, yoga""".replace("\n", " ").split(", ")
FORMS = (
    "What is {}?",
    "Explain {} to a child.",
    "Tell me one interesting fact about {}.",
    "Why does {} matter?",
    "Write two sentences about {}.",
    "Write a short poem about {}.",
    "Give me three words that go with {}.",
    "How would you describe {} to a friend?",
)
PLACES = """\
France, Japan, Egypt, Brazil, Canada, Italy, Kenya, India, Australia, Spain, Norway, Peru,
Greece, Germany, Mexico, Portugal, Sweden, China, Turkey, Ireland""".replace("\n", " ").split(", ")
PLACE_FORMS = (
    "What is the capital of {}?",
    "Name a famous dish from {}.",
    "Why do people visit {}?",
)
SINGLE = """\
Hello!
Hi, how are you?
Good morning.
Thank you for your help.
Who are you?
What can you do?
Tell me a joke.
What is 2 + 2?
What is 12 minus 5?
How do I boil an egg?
How can I sleep better?
How do I learn a language?
Give me three tips for an interview.
Suggest a name for a cat.
What should I cook tonight?
Write a haiku.
How do plants grow?
Why is the sky blue?
Who wrote Romeo and Juliet?
What is the largest planet?
How many days are in a year?
What is the opposite of hot?
Translate 'good night' into French.
What is a good habit?
How do I say sorry?
Plan a day in the park.
Write a thank-you note.
What makes a good story?""".splitlines()


def questions() -> list[str]:
    general = [form.format(subject) for subject in SUBJECTS for form in FORMS]
    places = [form.format(place) for place in PLACES for form in PLACE_FORMS]
    return [*SINGLE, *places, *general]


@torch.no_grad()
def answer(model: PreTrainedModel, tokenizer: Tokenizer, batch: list[str]) -> list[str]:
    """Greedy answers of the language model, as far as they are whole."""
    prompts = [render([WrittenMessage("user", text)], PROMPT, tokenizer) for text in batch]
    rows = [
        [i for part in prompt if isinstance(part, Text) for i in part.ids] for prompt in prompts
    ]
    width = max(map(len, rows))
    stop = tokenizer.token_id("<|im_end|>")
    ids = torch.tensor([[stop] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    out = model.generate(
        input_ids=ids, attention_mask=mask, max_new_tokens=MAX_TOKENS, do_sample=False,
        eos_token_id=stop, pad_token_id=stop,
    )  # fmt: skip
    return [whole_sentences(tokenizer.decode(row)) for row in out[:, width:].tolist()]


def whole_sentences(text: str) -> str:
    """The first paragraph up to its last full stop, if it has one: never half a list."""
    paragraph = text.split("\n\n")[0]
    end = max(paragraph.rfind(mark) for mark in ".!?")
    return paragraph[: end + 1].strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--language-model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    tokenizer = Tokenizer.from_file(args.language_model / "tokenizer.json")
    model = AutoModelForCausalLM.from_pretrained(args.language_model, dtype=torch.bfloat16)
    asked = questions()
    answers: list[str] = []
    for start in range(0, len(asked), BATCH):
        answers += answer(model, tokenizer, asked[start : start + BATCH])
        print(f"{len(answers)} of {len(asked)}")
    records = [
        {
            "id": f"text-{index:04}",
            "conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}],
        }
        for index, (q, a) in enumerate(zip(asked, answers, strict=True))
        if a
    ]
    args.out.write_text(json.dumps(records, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
