"""The functions for Node in the guide for desktop apps start a server, ask it, stop, and end it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from llava_edge import Message, Options, Picture, load

NODE = shutil.which("node")
DRIVER = """
import { readFileSync } from "node:fs";

const [program, bundle, picture] = process.argv.slice(-3);
const server = await startServer(program, bundle);
const asked = ["What is this?", readFileSync(picture)];
const refused = (error) => error.message;
const all = async (pieces) => {
  const words = [];
  for await (const piece of pieces) words.push(piece);
  return words;
};
const words = await all(ask(server, ...asked));
const controller = new AbortController();
controller.abort();
const stopped = await all(ask(server, ...asked, controller.signal)).catch((error) => error.name);
const stranger = await all(ask({ ...server, key: "x" }, ...asked)).catch(refused);
const broken = await all(ask(server, "What?", Buffer.from("none"))).catch(refused);
await server.stop();
const missing = await startServer(program, "nowhere").catch(refused);
console.log(JSON.stringify({ words, stopped, stranger, broken, missing }));
"""


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
@pytest.mark.skipif(sys.platform == "win32", reason="its program is a shell's script")
def test_its_functions(roomy_bundle: Path, photo_file: Path, tmp_path: Path) -> None:
    assert NODE is not None
    guide = (ROOT / "docs" / "desktop.md").read_text(encoding="utf-8")
    (functions,) = re.findall(r"^```js\n(.*?)^```", guide, re.DOTALL | re.MULTILINE)
    program = tmp_path / "llava-edge"  # whose answers are short, since a random model ends none
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m llava_edge "$@" --max-tokens 9\n')
    program.chmod(0o755)
    (tmp_path / "shell.mjs").write_text(functions + DRIVER)
    command = [NODE, "shell.mjs", program, roomy_bundle, photo_file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    question = Message("user", [Picture(photo_file), "What is this?"])
    assert "".join(found["words"]) == load(roomy_bundle).answer(question, Options(max_tokens=9))
    assert len([words for words in found["words"] if words]) > 1
    assert found["stopped"] == "AbortError"
    assert "API key" in found["stranger"]
    assert "picture" in found["broken"]
    assert "nowhere is not a bundle" in found["missing"]
