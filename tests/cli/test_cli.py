"""The command line as a user meets it: a process, its output and its exit code."""

import json
import logging
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import fields
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from command_line import refusal, run, run_warm
from PIL import Image

from llava_edge import Options, __version__, load
from llava_edge.cli import terminal
from llava_edge.cli.chat import chat
from llava_edge.cli.shown_warnings import _Notes
from llava_edge.core.bundle import read_bundle
from llava_edge.runtime.options import DEFAULTS

QUESTION = "What is in the picture?"


def test_one_answer(tiny_bundle: Path, photo_file: Path) -> None:
    expected = load(tiny_bundle).answer(QUESTION, photo_file, options=Options(max_tokens=9))
    arguments = ["chat", "--image", photo_file, "--prompt", QUESTION, "--max-tokens", 9]
    result = run(*arguments, LLAVA_EDGE_BUNDLE=str(tiny_bundle))
    assert result.returncode == 0
    assert result.stdout == terminal._printable(expected) + "\n"
    assert "tokens/s" in result.stderr
    result = run(*arguments, "--json", "--bundle", tiny_bundle)
    assert result.returncode == 0
    (line,) = result.stdout.splitlines()
    answer = json.loads(line)
    assert answer["text"] == expected
    assert answer["timings"]["image_tokens"] == 36


def test_a_picture_that_is_nearly_black_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 9), 4095, np.uint16)).save(tmp_path / "dark.png")
    arguments = ["chat", "--image", tmp_path / "dark.png", "--max-tokens", 2]
    result = run(*arguments, "--prompt", QUESTION, "--bundle", tiny_bundle)
    assert "dark.png has 16 bits, but its largest value is 4095" in result.stderr
    talk = run(*arguments, "--bundle", tiny_bundle, stdin=QUESTION)
    assert talk.stderr.count("dark.png has 16 bits") == 1


def test_a_conversation(tiny_bundle: Path, photo_file: Path) -> None:
    lines = [
        "Hello",
        "/image nowhere.png",
        f"/image '{photo_file}'",
        "What is this?",
        "/image",
        "",
        "/reset",
        "/what",
        "Bye",
    ]
    result = run("chat", "--max-tokens", 4, "--bundle", tiny_bundle, stdin="\n".join(lines))
    assert result.returncode == 0
    assert result.stderr.count("tokens/s") == 3
    assert "Error: The file nowhere.png does not exist" in result.stderr
    assert "cat.png goes with your next words" in result.stderr
    assert "a new conversation" in result.stderr
    assert "/image PATH" in result.stderr
    assert "Traceback" not in result.stderr


def test_system_words(tiny_bundle: Path) -> None:
    ask = ("chat", "--bundle", tiny_bundle, "--prompt", QUESTION, "--json")
    before, after = (
        json.loads(run(*ask, *more).stdout)["timings"]["prompt_tokens"]
        for more in ((), ("--system", "Be brief."))
    )
    assert after > before


def test_options_of_an_answer(tiny_bundle: Path, tmp_path: Path) -> None:
    schema = tmp_path / "schema.json"
    schema.write_text(
        '{"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}'
    )
    ask = ("chat", "--bundle", tiny_bundle, "--prompt", QUESTION, "--json")
    answer = json.loads(run(*ask, "--schema", schema, "--logprobs", "1").stdout)
    assert json.loads(answer["text"])["n"] in (1, 2)
    assert answer["finish"] == "stop"
    assert answer["logprobs"][0]["logprob"] <= 0
    options = ("--choice", "cat", "--choice", "dog", "--temperature", "2", "--seed", "1")
    assert json.loads(run(*ask, *options).stdout)["text"] in ("cat", "dog")
    penalties = ("--presence-penalty", "1", "--frequency-penalty", "1", "--top-k", "5")
    more = ("--min-p", "0.1", "--repetition-penalty", "1.1", "--logit-bias", "9=2", "--stop", "cat")
    result = run(*ask, *penalties, *more, "--speculate", "--max-tokens", "5")
    assert json.loads(result.stdout)["timings"]["generated_tokens"] <= 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--temperature", "-1"], "temperature is -1.0; give 0"),
        (["--min-p", "2"], "min_p is 2.0; give a number from 0 to 1"),
        (["--regex", "a", "--choice", "b"], "regex and choices are given together"),
        (["--regex", "(a"], "The regex '(a' cannot be used"),
        (["--schema", "gone.json"], "--schema gone.json cannot be read"),
        (["--logit-bias", "cat=1"], 'names the token "cat", but the number'),
        (["--logit-bias", "7"], '--logit-bias is "7", but NAME=VALUE'),
        (["--device", "cuda,cpu"], "'cuda,cpu' is not supported; choose one of"),
    ],
)
def test_options_that_cannot_be_kept(tiny_bundle: Path, options: list[str], said: str) -> None:
    result = run("chat", "--bundle", tiny_bundle, "--prompt", QUESTION, *options)
    assert result.returncode == 2
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_a_conversation_is_saved_and_gone_on_with(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, options = load(tiny_bundle), Options(max_tokens=5, when_full="shift")
    conversation, path = terminal._Conversation(model, options, None), tmp_path / "talk.npz"
    for line in ("Hello", f"/save {path}", "/reset", f"/load {path}", "/load gone", "word " * 10):
        assert conversation.take(line)
    said = capsys.readouterr().err
    assert "goes on" in said and "gone cannot be read" in said
    assert len(conversation._chat._turns) == 2
    for _ in range(9):
        conversation.take("word " * 12)
    assert "turns were forgotten" in capsys.readouterr().err


def test_a_long_prompt_is_answered_like_a_short_one(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, prompt, options = load(tiny_bundle), "word " * 30, Options(max_tokens=5)
    terminal.answer_once(model, prompt, [], options, None, as_json=False)
    expected = terminal._printable(model.answer(prompt, options=options))
    handlers = logging.getLogger("llava_edge").handlers
    assert not any(isinstance(each, _Notes) for each in handlers)
    assert capsys.readouterr().out == expected + "\n"


def test_what_is_being_done_is_said(tiny_bundle: Path, photo_file: Path) -> None:
    model = load(tiny_bundle)
    stream = model.stream("What? " * 20, [photo_file, photo_file], Options(max_tokens=2))
    said = [terminal._doing(piece) for piece in stream if not piece.text and not piece.finish]
    *_, last = model.stream("What? " * 20, [photo_file, photo_file], Options(max_tokens=2))
    count = f"{last.timings.prompt_tokens:,}"
    assert said[:3] == [
        "encoding picture 1 of 2",
        "encoding picture 2 of 2",
        f"0 of {count} tokens read",
    ]
    assert all(text.endswith(f" of {count} tokens read") for text in said[3:])
    assert terminal._loading("files", 0.256) == "checking the bundle's files, 26%"
    assert terminal._loading("decoder", 0) == "loading the language model"


def test_ctrl_c_stops_the_answer_and_not_the_program(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = load(tiny_bundle)
    conversation = terminal._Conversation(
        model, Options(max_tokens=50, temperature=2.0, seed=1), None
    )
    printable = terminal._printable
    seen: list[str] = []

    def interrupted(text: str) -> str:
        seen.append(text)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return printable(text)

    monkeypatch.setattr(terminal, "_printable", interrupted)
    assert conversation.take("Hello")
    assert len(seen) == 3
    assert "(stopped)" in capsys.readouterr().err
    assert conversation.take("And again")
    assert "tokens/s" in capsys.readouterr().err
    assert not conversation.take("/exit")


def test_a_terminal_is_not_given_control_characters() -> None:
    assert (
        terminal._printable("a\x1b[2J\x07\x9b b\r\n\tc 👩‍👧 é\ufffd") == "a[2J b\n\tc 👩‍👧 é\ufffd"
    )


def test_inspect(tiny_bundle: Path, tmp_path: Path) -> None:
    result = run("inspect", tiny_bundle)
    assert result.returncode == 0
    assert "kquant: linear layers 4 bits" in result.stdout
    assert "36 image tokens" in result.stdout
    assert "weights.bin" in result.stdout
    (line,) = run("inspect", tiny_bundle, "--json").stdout.splitlines()
    assert json.loads(line)["memory"]["kv_cache_per_token"] == 2 * 2 * 2 * 32 * 4
    altered = shutil.copytree(tiny_bundle, tmp_path / "altered")
    data = bytearray((altered / "weights.bin").read_bytes())
    data[-1] ^= 1
    (altered / "weights.bin").write_bytes(data)
    assert "weights.bin was altered" in refusal(run("inspect", altered))


def test_bad_pictures(tiny_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    words = tmp_path / "words.png"
    words.write_text("no picture")
    short = tmp_path / "short.png"
    short.write_bytes(photo_file.read_bytes()[:3000])
    huge = tmp_path / "huge.png"
    huge.write_bytes(png_header(60_000, 60_000))
    for path, said in [(words, "not a picture"), (short, "truncated"), (huge, "smaller")]:
        result = run("chat", "--bundle", tiny_bundle, "--prompt", "Hi", "--image", path)
        line = refusal(result)
        assert said in line
        assert path.name in line


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    crc = struct.pack(">I", zlib.crc32(chunk))
    header = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(chunk) - 4) + chunk + crc
    return header + struct.pack(">I", 10) + b"IDAT" + bytes(14)


def test_a_bundle_that_is_not_there(tmp_path: Path) -> None:
    assert "make demo" in refusal(run("chat", "--prompt", "Hi"))
    assert "does not exist" in refusal(run("inspect", tmp_path / "gone"))
    assert "does not exist" in refusal(run("chat", LLAVA_EDGE_BUNDLE=str(tmp_path / "gone")))


def test_a_prompt_that_does_not_fit(tiny_bundle: Path) -> None:
    result = run("chat", "--bundle", tiny_bundle, "--prompt", "word " * 300)
    assert "the context holds 256" in refusal(result)


@pytest.mark.parametrize(
    "arguments",
    [["chat", "--json"], ["chat", "--prompt", "Hi", "--top-p", "0"], ["chat", "--device", "tpu"]],
)
def test_wrong_usage(tiny_bundle: Path, arguments: list[str]) -> None:
    assert refusal(run(*arguments, LLAVA_EDGE_BUNDLE=str(tiny_bundle)), code=2)


@pytest.mark.parametrize(
    "arguments", [["chat", "--max-tokens", "0"], ["chat", "--seed", "x"], ["fly"], ["export"]]
)
def test_usage_that_typer_refuses(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_export_does_as_it_is_told(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = "--quantize rtn --block-size 16 --head-bits 4 --embedding-bits 16 --tower int8"
    options += " --devices gpu --mixed --mixed-share 0.4 --prompt chatml --no-verify"
    result = run_warm("export", tiny_checkpoint, out, *options.split())
    assert result.returncode == 0, result.stderr
    quantization = read_bundle(out).quantization
    assert (quantization.method, quantization.block_size) == ("rtn", 16)
    assert (quantization.head_bits, quantization.embedding_bits) == (4, 16)
    assert quantization.tower == "int8" and quantization.eight_bit_layers
    assert not (out / "decoder.cpu.onnx").exists() and (out / "decoder.gpu.onnx").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("--block-size 33", "choose one of 16, 32, 64"),
        ("--head-bits 5", "choose 4, 8 or 16"),
        ("--devices tpu", "give cpu, gpu or cpu,gpu"),
        ("--devices gpu --verify", "leave out --verify"),
        ("--limit kl=1", "There is no limit kl"),
        ("--limit kl_mean", "NAME=VALUE"),
        ("--images .", "give --records too"),
        ("--quantize nf4 --mixed", "does not have both"),
        ("--vision-tower .", "holds one of its own"),
    ],
)
def test_export_refuses_at_once(
    tiny_checkpoint: Path, tmp_path: Path, options: str, said: str
) -> None:
    result = run_warm("export", tiny_checkpoint, tmp_path / "out", *options.split())
    assert said in refusal(result, code=2)
    assert not list(tmp_path.iterdir())


def test_export_shows_why_a_bundle_is_refused(tiny_checkpoint: Path, tmp_path: Path) -> None:
    refused = run(
        "export", tiny_checkpoint, tmp_path / "out", "--verify", "--limit", "kl_mean=1e-9"
    )
    assert refused.returncode == 1
    assert "compared with the original" in refused.stdout
    assert "kl_mean is" in refused.stderr and not (tmp_path / "out").exists()


def test_sensitivity(tiny_checkpoint: Path, tmp_path: Path) -> None:
    nowhere = run_warm("sensitivity", tiny_checkpoint, tmp_path / "no" / "sensitivity.json")
    assert "its folder is missing" in refusal(nowhere, code=2)
    out = tmp_path / "sensitivity.json"
    useless = run_warm("sensitivity", tiny_checkpoint, out, "--quantize", "nf4")
    assert "does not have both" in refusal(useless, code=2) and not out.exists()
    result = run_warm("sensitivity", tiny_checkpoint, out, "--block-size", 16)
    assert result.returncode == 0, result.stderr
    assert json.loads(out.read_text())["block_size"] == 16
    assert str(out) in result.stdout.splitlines()[-1]


def test_export_and_its_missing_extra(tiny_checkpoint: Path, tmp_path: Path) -> None:
    result = run("export", tiny_checkpoint, tmp_path / "out", "--quantize", "none", "--no-verify")
    assert result.returncode == 0, result.stderr
    assert f"--bundle {tmp_path / 'out'}" in result.stdout
    assert run("export", tiny_checkpoint, tmp_path / "out").returncode != 0
    # As if the extra was not installed: its library cannot be found.
    code = (
        "import sys; sys.modules['onnx_ir'] = None; from llava_edge.cli.entry import main; main()"
    )
    command = [sys.executable, "-c", code, "export", tiny_checkpoint, tmp_path / "other"]
    missing = subprocess.run(command, capture_output=True, text=True)
    assert "pip install '.[export]'" in refusal(missing)


@pytest.mark.parametrize("library", ["typer", "rich"])
def test_no_command_line(library: str) -> None:
    code = (
        f"import sys; sys.modules['{library}'] = None\n"
        "from llava_edge.cli.entry import main\nmain()"
    )
    for verb in ("--help", "chat"):
        missing = subprocess.run([sys.executable, "-c", code, verb], capture_output=True, text=True)
        assert "pip install '.[cli]'" in refusal(missing)


def test_chat_has_an_option_for_each_of_an_answer() -> None:
    given = signature(chat).parameters
    for field in fields(Options):
        default = given["choice" if field.name == "choices" else field.name].default
        assert default == getattr(DEFAULTS, field.name) or default is None, field.name


def test_no_onnxruntime(tiny_bundle: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from llava_edge.cli.entry import main\nmain()"
    )
    command = [sys.executable, "-c", code, "chat", "--prompt", "Hi", "--bundle", tiny_bundle]
    missing = subprocess.run(command, capture_output=True, text=True)
    assert "pip install '.[cpu]'" in refusal(missing)


def test_a_closed_pipe_ends_quietly(tiny_bundle: Path) -> None:
    code = "from llava_edge.cli.entry import main; main()"
    arguments = ["chat", "--prompt", "Hi", "--bundle", str(tiny_bundle), "--temperature", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate()
    assert b"Traceback" not in errors
    assert b"Exception" not in errors


def test_help_and_version() -> None:
    assert run("--version").stdout.strip().endswith(__version__)
    code = (
        "import sys; from llava_edge.cli.entry import main\ntry: main()\nexcept SystemExit: pass\n"
    )
    command = [sys.executable, "-c", code + "print('onnxruntime' in sys.modules)", "chat", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "--image" in result.stdout
    assert result.stdout.splitlines()[-1] == "False"


def test_a_training_run_is_planned(tmp_path: Path) -> None:
    listed = run_warm("train", "--list")
    assert {"v1.5", "qlora"} <= set(listed.stdout.split())
    planned = run_warm("train", "v1.5", "--dry-run", "--devices", 8, "--set", f"out={tmp_path}/run")
    assert planned.returncode == 0, planned.stderr
    cells = [line.replace("│", " ").split() for line in planned.stdout.splitlines()]
    assert ["device", "batch", "32", "16"] in cells
    assert "still needed" in planned.stdout
    assert not (tmp_path / "run").exists()
    fits = run_warm("train", "v1.5", "--fits")
    assert fits.returncode == 0 and "8 x 80 GB" in fits.stdout
    assert "--dry-run" in refusal(run_warm("train", "v1.5", "--devices", 8), 2)
    assert "paper, qlora" in refusal(run_warm("train", "v3"))
    assert "one of them" in refusal(run_warm("train", "v1.5", "--resume", "--force"), 2)
    assert "one of them" in refusal(run_warm("train", "v1.5", "--dry-run", "--fits"), 2)
