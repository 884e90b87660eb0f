"""A bundle of the hub is fetched into the models folder whole, or not at all."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from command_line import refusal, run
from fake_hub import CHUNK, NAME, Hub, serving, settings
from tiny import write_llava

from llava_edge.core.bundle import read_config, write_bundle_json

FETCHED = "tiny-llava"


class Pulled:
    """`llava-edge` in processes that know one hub and one models folder."""

    def __init__(self, endpoint: str, hub: type[Hub], folder: Path) -> None:
        self.hub = hub
        self.models = folder / "models"
        self.models.mkdir()
        self.environment = {
            **settings(endpoint, folder / "cache"),
            "LLAVA_EDGE_MODELS": str(self.models),
        }

    def run(self, *arguments: object, **environment: str) -> CompletedProcess[str]:
        return run(*arguments, **{**self.environment, **environment})

    def there(self) -> list[str]:
        return [name for name in os.listdir(self.models) if not name.startswith(".")]


@pytest.fixture
def pulled(tiny_bundle: Path, tmp_path: Path) -> Iterator[Pulled]:
    served = shutil.copytree(tiny_bundle, tmp_path / "served")
    (served / "README.md").write_text("not of the bundle")
    with serving(served) as (endpoint, hub):
        yield Pulled(endpoint, hub, tmp_path)


def test_a_bundle_is_fetched_and_found_by_its_name(
    pulled: Pulled, tiny_bundle: Path, photo_file: Path
) -> None:
    done = pulled.run("pull", NAME)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"llava-edge chat --bundle {FETCHED}\n")
    assert pulled.there() == [FETCHED]
    files = {path.name: path.read_bytes() for path in (pulled.models / FETCHED).iterdir()}
    assert files == {path.name: path.read_bytes() for path in tiny_bundle.iterdir()}
    (listed,) = json.loads(pulled.run("list", "--json").stdout)
    assert listed["name"] == FETCHED and listed["context"] == 256
    asked = ("--image", photo_file, "--prompt", "What?", "--max-tokens", 3)
    by_name = pulled.run("chat", "--bundle", FETCHED, *asked)
    assert by_name.returncode == 0, by_name.stderr
    assert by_name.stdout == run("chat", "--bundle", tiny_bundle, *asked).stdout


def test_the_hub_is_asked_for_the_files_alone(pulled: Pulled) -> None:
    """And not for what its client would ask of its own accord, such as which agents there are."""
    assert pulled.run("pull", NAME).returncode == 0
    asked = [path for path in pulled.hub.paths if not path.startswith(f"/{NAME}/resolve/")]
    assert {path.partition("?")[0].split("/tree/")[0] for path in asked} == {f"/api/models/{NAME}"}


def test_a_name_of_ones_own_and_one_that_is_taken(pulled: Pulled) -> None:
    assert pulled.run("pull", NAME, "--name", "mine").returncode == 0
    assert pulled.there() == ["mine"]
    pulled.hub.sent.clear()
    assert "exists already" in refusal(pulled.run("pull", NAME, "--name", "mine"))
    assert not pulled.hub.sent
    (pulled.models / "mine" / "bundle.json").write_text("{}")
    assert pulled.run("pull", NAME, "--name", "mine", "--force").returncode == 0
    assert json.loads((pulled.models / "mine" / "bundle.json").read_text())["name"] == "tiny"
    for name in ("a/b", "../up", ".hidden", ""):
        assert "cannot be a bundle's name" in refusal(pulled.run("pull", NAME, "--name", name), 2)
    assert "give org/name" in refusal(pulled.run("pull", "alone"), 2)


def test_a_connection_that_broke_off_is_taken_up(pulled: Pulled) -> None:
    weights = _grown(pulled)
    pulled.hub.breaks.append("weights.bin")
    assert pulled.run("pull", NAME).returncode == 0
    assert [start for name, start in pulled.hub.sent if name == "weights.bin"] == [0, CHUNK]
    assert (pulled.models / FETCHED / "weights.bin").read_bytes() == weights


def test_files_that_had_come_whole_are_not_fetched_again(pulled: Pulled) -> None:
    weights = _grown(pulled)
    pulled.hub.breaks.extend(["weights.bin"] * 10)  # more often than its client tries
    assert "fetches what is missing" in pulled.run("pull", NAME).stderr.splitlines()[-1]
    assert pulled.there() == [] and pulled.run("list", "--json").stdout == "[]\n"
    pulled.hub.breaks.clear()
    pulled.hub.sent.clear()
    assert pulled.run("pull", NAME).returncode == 0
    assert [name for name, _ in pulled.hub.sent] == ["weights.bin"]
    assert pulled.there() == [FETCHED]
    assert (pulled.models / FETCHED / "weights.bin").read_bytes() == weights


def test_altered_files_are_not_kept(pulled: Pulled) -> None:
    weights = pulled.hub.folder / "weights.bin"
    content = bytearray(weights.read_bytes())
    content[100] ^= 1
    weights.write_bytes(content)
    said = refusal_after_bars(pulled.run("pull", NAME))
    assert said.startswith(f"Error: The bundle {NAME} is damaged: weights.bin was altered")
    assert not list(pulled.models.iterdir())


def test_another_format_version_is_known_before_the_weights_are_fetched(pulled: Pulled) -> None:
    path = pulled.hub.folder / "bundle.json"
    path.write_text(path.read_text().replace('"format_version": 4', '"format_version": 3'))
    said = refusal_after_bars(pulled.run("pull", NAME))
    assert f"The bundle {NAME} has format version 3" in said
    assert {name for name, _ in pulled.hub.sent} == {"bundle.json"}
    assert not list(pulled.models.iterdir())


def test_a_checkpoint_is_exported_on_request(pulled: Pulled, photo_file: Path) -> None:
    shutil.rmtree(pulled.hub.folder)
    pulled.hub.folder.mkdir()
    write_llava(pulled.hub.folder)
    assert "give --export" in refusal(pulled.run("pull", NAME))
    said = refusal(pulled.run("pull", NAME, "--devices", "cpu"), 2)
    assert "--devices is for an export" in said
    done = pulled.run("pull", NAME, "--export", "--devices", "cpu", "--no-verify")
    assert done.returncode == 0, done.stderr
    (listed,) = json.loads(pulled.run("list", "--json").stdout)
    assert (listed["devices"], listed["checkpoint"]) == (["cpu"], NAME)
    asked = ("--image", photo_file, "--prompt", "What?", "--max-tokens", 3)
    assert pulled.run("chat", "--bundle", FETCHED, *asked).returncode == 0


def test_the_hub_does_not_know_it(pulled: Pulled) -> None:
    said = refusal(pulled.run("pull", "nobody/nothing"))
    assert "nor such a model on the Hugging Face hub" in said
    assert "could not be fetched" in refusal(
        pulled.run("pull", NAME, HF_ENDPOINT="http://127.0.0.1:9")
    )
    assert pulled.there() == []


def refusal_after_bars(done: CompletedProcess[str]) -> str:
    """The line of an error, which comes after bars of progress."""
    assert done.returncode == 1 and done.stdout == ""
    return done.stderr.splitlines()[-1]


def _grown(pulled: Pulled) -> bytes:
    """The weights of a bundle on the hub that takes several chunks."""
    weights = pulled.hub.folder / "weights.bin"
    weights.write_bytes(weights.read_bytes() + os.urandom(3 * CHUNK))
    write_bundle_json(pulled.hub.folder, read_config(pulled.hub.folder))
    return weights.read_bytes()
