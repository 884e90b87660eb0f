"""Ask a bundle about never-trained scenes with fewer and fewer of each picture's image tokens.

    python examples/emoji/image_tokens.py build/demo --answers build/emoji/image_tokens.jsonl
    python examples/emoji/image_tokens.py … --seconds 50     # a slice; the same command goes on

Answers are kept in a file, and what stands there is not asked again. Prints a table for people, of
the scenes that are finished, and one JSON line, last, for programs.
"""

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from choices import CHOICES
from evaluate import SCENES, Answers, ask, tallies
from numpy.typing import NDArray
from questions import FAMILIES, Case, draw_cases
from rich.console import Console
from rich.progress import track
from rich.table import Table
from sprites import DEFAULT_SPRITES, SpriteSheet, load_sheet

import llava_edge

TOKENS = (64, 48, 32, 24, 16, 8)
FIGURES = ("recall", "precision", "yes/no", "count", "colour", "place")
RESAMPLES = 2000  # of the bootstrap

Counts = NDArray[np.int64]  # right ones and all: [scenes, figures, 2]
Percent = NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """How many image tokens a picture has, and which."""

    choice: str
    tokens: int


@dataclass(frozen=True)
class SceneKey:
    """Which scene of which family; it has a case."""

    family: str
    scene: int


def settings(total: int, tokens: list[int]) -> list[Setting]:
    """All tokens of a picture, then each choice of fewer."""
    fewer = [Setting(choice, count) for count in tokens for choice in CHOICES]
    return [Setting("all", total), *fewer]


def draw_scenes(sheet: SpriteSheet, limit: int) -> dict[SceneKey, Case]:
    """The first scenes that evaluate.py asks about, the families in turn."""
    drawn = {family: draw_cases(sheet, family, SCENES) for family in FAMILIES}
    scenes = range(min(limit, SCENES))
    return {SceneKey(family, i): drawn[family][i] for i in scenes for family in FAMILIES}


class AnswerFile:
    """Answers as JSON lines, one for each scene and setting."""

    def __init__(self, path: Path, bundle: Path) -> None:
        self._path = path
        self._bundle = str(bundle)
        self._known: dict[tuple[SceneKey, Setting], list[str]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in map(json.loads, lines):
            if line["bundle"] == self._bundle:
                key = SceneKey(line["family"], line["scene"])
                setting = Setting(line["choice"], line["tokens"])
                self._known[key, setting] = line["answers"]

    def find(self, key: SceneKey, setting: Setting, case: Case) -> Answers | None:
        """What was answered, or None where it was not asked yet."""
        if (texts := self._known.get((key, setting))) is None:
            return None
        return [(case, *pair) for pair in zip(case.questions, texts, strict=True)]

    def add(self, key: SceneKey, setting: Setting, answers: Answers) -> None:
        """Append one line."""
        texts = [text for _, _, text in answers]
        self._known[key, setting] = texts
        fields = {"bundle": self._bundle, **vars(key), **vars(setting), "answers": texts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(fields) + "\n")


def ask_missing(
    model: llava_edge.Llava,
    cases: dict[SceneKey, Case],
    asked: list[Setting],
    answers: AnswerFile,
    seconds: float,
) -> None:
    """Ask what was not asked yet, scene by scene, until the time is over."""
    end = time.monotonic() + seconds
    for key, case in track(cases.items(), "scenes"):
        for setting in asked:
            if answers.find(key, setting, case) is not None:
                continue
            if time.monotonic() > end:
                return
            rows = model.encode_image(case.picture).rows
            if setting.choice != "all":
                rows = CHOICES[setting.choice](rows, setting.tokens, key.scene)
            picture = llava_edge.ImageEmbeddings(rows)
            answers.add(key, setting, ask(model, case, picture))


def count(
    cases: dict[SceneKey, Case], asked: list[Setting], answers: AnswerFile
) -> dict[Setting, Counts]:
    """Right answers and all, of the scenes that were asked about in every setting."""
    found = [[answers.find(key, setting, case) for setting in asked] for key, case in cases.items()]
    finished = [[said for said in scene if said is not None] for scene in found if all(scene)]
    counts = [[count_right(said) for said in scene] for scene in finished]
    shape = (len(finished), len(asked), len(FIGURES), 2)
    by_setting = np.array(counts, int).reshape(shape).swapaxes(0, 1)
    return dict(zip(asked, by_setting, strict=True))


def count_right(answers: Answers) -> list[tuple[int, int]]:
    """Of each figure, the right answers and all."""
    scored = tallies(answers)
    return [(scored[figure].right, scored[figure].total) for figure in FIGURES]


def shares(sums: NDArray[np.int64]) -> Percent:
    """Percentages [..., figures] of sums [..., figures, 2]; NaN where nothing was asked."""
    with np.errstate(invalid="ignore"):
        percent: Percent = 100 * sums[..., 0] / sums[..., 1]
    return percent


def chance(first: Counts, second: Counts) -> Percent:
    """How far two settings' shares [figures] may lie apart by chance: 1.96 standard errors.

    Both saw the same scenes, which are drawn anew, with repetition, for both (paired bootstrap).
    """
    scenes = len(first)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(scenes, np.full(scenes, 1 / scenes), RESAMPLES)  # [RESAMPLES, scenes]
    apart = shares(np.tensordot(drawn, first, 1)) - shares(np.tensordot(drawn, second, 1))
    return 1.96 * apart.std(axis=0)


def largest_chance(counted: dict[Setting, Counts]) -> Percent:
    """Of each reduction beside all tokens, and beside the diverse choice of as many."""
    whole, *_ = counted.values()
    pairs = [(counts, whole) for counts in counted.values()]
    pairs += [
        (counts, counted[Setting("diverse", setting.tokens)])
        for setting, counts in counted.items()
        if setting.choice != "all"
    ]
    return np.max([chance(*pair) for pair in pairs], axis=0)


def text_tokens(model: llava_edge.Llava, cases: dict[SceneKey, Case]) -> float:
    """How many tokens a prompt has besides the picture's, on average."""
    one = llava_edge.ImageEmbeddings(np.zeros((1, model.config.decoder.hidden_size), np.float32))
    questions = [question.text for case in cases.values() for question in case.questions]
    prompts = [next(model.stream(text, one)).timings.prompt_tokens for text in questions]
    return float(np.mean(prompts)) - 1


def print_table(title: str, figures: dict[Setting, Percent], apart: Percent) -> None:
    """Percentages, a row for each setting, and how far two rows may lie apart by chance."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("tokens", "choice", *FIGURES):
        table.add_column(column, justify="left" if column == "choice" else "right")
    for setting, percent in figures.items():
        table.add_row(str(setting.tokens), setting.choice, *cells(percent))
    table.add_row("", "chance, up to", *cells(apart))
    Console().print(table)


def cells(percent: Percent) -> list[str]:
    """Percentages [figures] as they are printed."""
    return ["-" if np.isnan(value) else f"{value:.1f}" for value in percent]


def by_name(percent: Percent) -> dict[str, float | None]:
    """Percentages [figures] for JSON, which has no NaN."""
    values = [None if np.isnan(value) else round(float(value), 2) for value in percent]
    return dict(zip(FIGURES, values, strict=True))


def evaluate(options: argparse.Namespace) -> None:
    """Ask, count and print."""
    cases = draw_scenes(load_sheet(options.sprites), options.limit)
    model = llava_edge.load(options.bundle)
    asked = settings(model.config.vision.image_tokens, options.tokens)
    answers = AnswerFile(options.answers, options.bundle)
    ask_missing(model, cases, asked, answers, options.seconds)
    counted = count(cases, asked, answers)
    if not (scenes := len(counted[asked[0]])):
        raise SystemExit("No scene was asked about in every setting yet; start again to go on.")
    figures = {setting: shares(counts.sum(axis=0)) for setting, counts in counted.items()}
    apart = largest_chance(counted)
    print_table(f"{options.bundle}, {scenes} of {len(cases)} scenes", figures, apart)
    report = {
        "bundle": str(options.bundle),
        "scenes": scenes,
        "text_tokens": round(text_tokens(model, cases), 1),
        "figures": [vars(setting) | by_name(percent) for setting, percent in figures.items()],
        "chance": by_name(apart),
    }
    print(f"A prompt has {report['text_tokens']} tokens besides.")
    print(json.dumps(report))


def main() -> None:
    """Read the command line, evaluate."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--answers", type=Path, required=True, help="the file of the answers")
    parser.add_argument("--limit", type=int, default=60, help="scenes of each family")
    parser.add_argument("--tokens", type=int, nargs="+", default=TOKENS, help="how many to keep")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="ask so long at most")
    parser.add_argument("--sprites", type=Path, default=DEFAULT_SPRITES)
    try:
        evaluate(parser.parse_args())
    except llava_edge.LlavaEdgeError as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
