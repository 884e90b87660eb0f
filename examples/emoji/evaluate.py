"""Ask bundles about never-trained scenes, with the picture and with a blank one.

    python examples/emoji/evaluate.py build/demo-fp32 build/demo        # 240 scenes a family
    python examples/emoji/evaluate.py build/demo --limit 20             # a quick look

Prints a table for people and one JSON line, last, for programs.
"""

import argparse
import json
from itertools import combinations
from pathlib import Path

from colours import COLOURS
from context import PLACES
from metrics import (
    Tally,
    name_precision,
    name_recall,
    phrase_accuracy,
    yes_no_accuracy,
    yes_rate,
)
from names import NUMBERS
from PIL import Image
from questions import FAMILIES, Case, SceneQuestion, draw_cases
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scenes import SIDE, is_held_out
from sprites import DEFAULT_SPRITES, SpriteSheet, load_sheet

import llava_edge
from llava_edge import Options

SCENES = 240  # of each family
BLANK = (128, 128, 128)
MAX_TOKENS = {"objects": 64}  # other answers are one short sentence
SHORT_ANSWER = 24

Answers = list[tuple[Case, SceneQuestion, str]]
Report = dict[str, dict[str, dict[str, float | None]]]


def ask_with_pictures(model: llava_edge.Llava, cases: list[Case], about: str) -> Answers:
    """Every question, with its picture; each picture is encoded once."""
    answers: Answers = []
    for case in track(cases, about):
        answers += ask(model, case, model.encode_image(case.picture))
    return answers


def ask(model: llava_edge.Llava, case: Case, picture: llava_edge.ImageEmbeddings) -> Answers:
    """Every question of one scene."""
    answers: Answers = []
    for question in case.questions:
        limit = MAX_TOKENS.get(question.kind, SHORT_ANSWER)
        answers.append(
            (case, question, model.answer(question.text, picture, Options(max_tokens=limit)))
        )
    return answers


def ask_with_blank(model: llava_edge.Llava, cases: list[Case], about: str) -> Answers:
    """Every question with a grey picture; a question that comes again has the same answer."""
    picture = model.encode_image(Image.new("RGB", (SIDE, SIDE), BLANK))
    known: dict[str, str] = {}
    answers: Answers = []
    for case in track(cases, about):
        for question in case.questions:
            if question.text not in known:
                limit = MAX_TOKENS.get(question.kind, SHORT_ANSWER)
                known[question.text] = model.answer(
                    question.text, picture, Options(max_tokens=limit)
                )
            answers.append((case, question, known[question.text]))
    return answers


def score(answers: Answers) -> dict[str, float | None]:
    """All figures of one set of answers, 0..1; None where nothing was asked."""
    return {figure: tally.share for figure, tally in tallies(answers).items()}


def tallies(answers: Answers) -> dict[str, Tally]:
    """All figures of one set of answers, as counts."""
    objects = [(answer, case.names) for case, q, answer in answers if q.kind == "objects"]
    unseen = [
        (answer, case.names)
        for case, q, answer in answers
        if q.kind == "objects" and has_held_out_pair(case)
    ]
    yes_no = [(a, q.kind == "present") for _, q, a in answers if q.kind in ("present", "absent")]
    return {
        "recall": name_recall(objects),
        "precision": name_precision(objects),
        "unseen pairs": name_recall(unseen),
        "yes/no": yes_no_accuracy(yes_no),
        "says yes": yes_rate(answer for answer, _ in yes_no),
        "count": score_phrases(answers, "count", tuple(NUMBERS.values())),
        "colour": score_phrases(answers, "colour", COLOURS),
        "place": score_phrases(answers, "place", tuple(PLACES.values())),
    }


def has_held_out_pair(case: Case) -> bool:
    """Whether two of the scene's objects never met in training."""
    return any(is_held_out(*pair) for pair in combinations(case.names, 2))


def score_phrases(answers: Answers, kind: str, rivals: tuple[str, ...]) -> Tally:
    """Accuracy of the questions of one kind."""
    return phrase_accuracy([(a, q.truth) for _, q, a in answers if q.kind == kind], rivals)


def evaluate(bundle: Path, sheet: SpriteSheet, scenes: int) -> tuple[Report, list[str]]:
    """Ask one bundle everything; returns the figures by family and picture, and JSON lines."""
    model = llava_edge.load(bundle)
    report: Report = {}
    lines: list[str] = []
    for family in FAMILIES:
        cases = draw_cases(sheet, family, scenes)
        asked = {
            "real": ask_with_pictures(model, cases, f"{bundle.name}, {family}"),
            "blank": ask_with_blank(model, cases, f"{bundle.name}, {family}, blank picture"),
        }
        report[family] = {picture: score(answers) for picture, answers in asked.items()}
        lines += [
            answer_line(bundle, family, picture, case, question, answer)
            for picture, answers in asked.items()
            for case, question, answer in answers
        ]
    return report, lines


def answer_line(
    bundle: Path, family: str, picture: str, case: Case, question: SceneQuestion, answer: str
) -> str:
    """One answer as a JSON line."""
    truth = question.truth or sorted(case.names)
    fields = {"bundle": str(bundle), "family": family, "picture": picture, "kind": question.kind}
    return json.dumps({**fields, "question": question.text, "truth": truth, "answer": answer})


def print_tables(reports: dict[str, Report]) -> None:
    """Percentages, a table for each bundle and a row for each family and picture."""
    console = Console()
    for bundle, report in reports.items():
        table = Table(title=bundle, title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("scenes, picture")
        for figure in score([]):
            table.add_column(figure.replace(" ", "\n"), justify="right")
        for family, pictures in report.items():
            for picture, figures in pictures.items():
                cells = ["-" if v is None else f"{100 * v:.1f}" for v in figures.values()]
                table.add_row(f"{family}, {picture}", *cells)
        console.print(table)


def main() -> None:
    """Read the command line, evaluate, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", type=Path, nargs="+", metavar="BUNDLE")
    parser.add_argument("--limit", type=int, default=SCENES, help="scenes of each family")
    parser.add_argument("--sprites", type=Path, default=DEFAULT_SPRITES)
    parser.add_argument("--answers", type=Path, help="write every answer here, as JSON lines")
    options = parser.parse_args()
    sheet = load_sheet(options.sprites)
    reports: dict[str, Report] = {}
    lines: list[str] = []
    for bundle in options.bundles:
        try:
            reports[str(bundle)], asked = evaluate(bundle, sheet, options.limit)
        except llava_edge.LlavaEdgeError as error:
            raise SystemExit(str(error)) from None
        lines += asked
    if options.answers:
        options.answers.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print_tables(reports)
    print(json.dumps(reports))


if __name__ == "__main__":
    main()
