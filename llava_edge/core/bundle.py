"""The bundle folder: read strictly, and written whole or not at all."""

import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path

from llava_edge.core.bundle_config import FORMAT_VERSION, BundleConfig, DeviceName, FileRecord
from llava_edge.core.files import sha256_of, write_atomically
from llava_edge.core.strict import parse, read_json
from llava_edge.core.user_folders import cache_folder, models_folder
from llava_edge.errors import BundleError

BUNDLE_JSON = "bundle.json"
TOKENIZER_JSON = "tokenizer.json"
WEIGHTS_BIN = "weights.bin"

ENVIRONMENT_VARIABLE = "LLAVA_EDGE_BUNDLE"
ALWAYS_HASHED = 16 * 2**20  # bytes; larger files are hashed once, then known by their stamp

Fraction = Callable[[float], None]  # is told how much of something is done, from 0 to 1


def vision_onnx(device: DeviceName) -> str:
    """The name of a device's vision graph."""
    return f"vision.{device}.onnx"


def decoder_onnx(device: DeviceName) -> str:
    """The name of a device's decoder graph."""
    return f"decoder.{device}.onnx"


def bundle_files(devices: Iterable[DeviceName]) -> tuple[str, ...]:
    """Every file of a bundle besides bundle.json."""
    graphs = [name(device) for device in devices for name in (vision_onnx, decoder_onnx)]
    return (TOKENIZER_JSON, WEIGHTS_BIN, *graphs)


def find_bundle(bundle: Path | str | None = None) -> Path:
    """The folder of a bundle, which is given by its path or by its name in the models folder.

    A path wins where it holds a bundle. By default it is the bundle that `$LLAVA_EDGE_BUNDLE`
    names, or else the demo's. Raises BundleError where there is none.
    """
    if bundle is None:
        bundle = os.environ.get(ENVIRONMENT_VARIABLE) or demo_bundle()
    folder = Path(bundle).expanduser()
    if holds_bundle(folder):
        return folder
    if isinstance(bundle, str) and bundle in bundle_names():
        return models_folder() / bundle
    if bundle == demo_bundle():
        raise BundleError(
            f"The demo bundle is not at {folder} yet; run `make demo` in a clone of llava-edge, "
            f"or name another bundle with --bundle or ${ENVIRONMENT_VARIABLE}."
        )
    problem = f"holds no {BUNDLE_JSON}" if folder.exists() else "does not exist"
    raise BundleError(
        f"{folder} is not a bundle, since it {problem}; "
        f"name a folder that `llava-edge export` has written{_or_a_name()}."
    )


def is_name(text: str) -> bool:
    """Whether a bundle may have this name in the models folder: it has no part of a path."""
    whole = bool(text) and text == Path(text).name
    return whole and not text.startswith((".", "~")) and "\0" not in text


def holds_bundle(folder: Path) -> bool:
    """Whether a folder has a bundle.json, which an export writes last."""
    return (folder / BUNDLE_JSON).is_file()


def bundle_names() -> tuple[str, ...]:
    """The names of the bundles in the models folder, sorted."""
    try:
        return tuple(
            sorted(p.name for p in models_folder().iterdir() if is_name(p.name) and holds_bundle(p))
        )
    except OSError:
        return ()  # the folder is not there yet


def demo_bundle() -> Path:
    """Where `make demo` puts its bundle."""
    return models_folder() / "demo"


def read_bundle(folder: Path) -> BundleConfig:
    """Read `bundle.json` and check that every file is there with its size; raises BundleError."""
    config = read_config(folder)
    if wrong := set(config.files) ^ set(bundle_files(config.devices)):
        raise _damaged(
            folder,
            f"in {BUNDLE_JSON} the list of files is wrong ({', '.join(sorted(wrong))})",
        )
    for name, record in config.files.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, f"{name} is missing")
        if (size := path.stat().st_size) != record.size:
            raise _damaged(folder, f"{name} has {size:,} bytes instead of {record.size:,}")
    return config


def verify_checksums(
    folder: Path, config: BundleConfig, tell: Fraction = lambda done: None
) -> None:
    """Hash every file; raises BundleError for the first that was altered."""
    size, done = sum(record.size for record in config.files.values()), 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        tell(done / size)

    for name, record in config.files.items():
        if sha256_of(folder / name, add) != record.sha256:
            raise _damaged(folder, f"{name} was altered (its sha256 differs)")


def verify_once(folder: Path, config: BundleConfig, tell: Fraction = lambda done: None) -> None:
    """Like verify_checksums, but a large file that did not change is hashed the first time only.

    Which ones were hashed is remembered, by path, size and time of change, in the cache folder.
    """
    stamps = _read_stamps()
    large = {name for name, record in config.files.items() if record.size > ALWAYS_HASHED}
    stamp_of = {name: _stamp(folder / name, config.files[name]) for name in large}
    known = {name for name, stamp in stamp_of.items() if stamp in stamps}
    files = {name: record for name, record in config.files.items() if name not in known}
    verify_checksums(folder, replace(config, files=files), tell)
    if known != large:
        _write_stamps([*stamps, *(stamp_of[name] for name in sorted(large - known))])


def write_bundle_json(folder: Path, config: BundleConfig) -> BundleConfig:
    """Write size and sha256 of the folder's files with `config` into `bundle.json`, and return it.

    This makes the folder a bundle, so it is done last. Raises BundleError for a number that is not
    finite, since JSON has none.
    """
    files = {name: _record(folder / name) for name in bundle_files(config.devices)}
    return rewrite_bundle_json(folder, replace(config, files=files))


def rewrite_bundle_json(folder: Path, config: BundleConfig) -> BundleConfig:
    """Write `bundle.json`, whole or not at all, and return what was written.

    Raises BundleError for a number that is not finite, since JSON has none.
    """
    try:
        text = json.dumps(asdict(config), indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise BundleError(
            f"The bundle {folder} computes numbers that are not finite; export it again with "
            "more bits."
        ) from error
    write_atomically(folder / BUNDLE_JSON, text + "\n")
    return config


def read_config(folder: Path) -> BundleConfig:
    """Read `bundle.json` alone; raises BundleError."""
    path = folder / BUNDLE_JSON
    try:
        data = read_json(path)
    except OSError as error:
        raise _damaged(folder, f"{BUNDLE_JSON} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _damaged(folder, f"{BUNDLE_JSON} is not JSON ({error})") from error
    _check_version(folder, data)
    try:
        return parse(BundleConfig, data)
    except ValueError as error:
        raise _damaged(folder, f"in {BUNDLE_JSON} {error}") from error


def _check_version(folder: Path, data: object) -> None:
    version = data.get("format_version") if isinstance(data, dict) else None
    if type(version) is not int or version == FORMAT_VERSION:
        return  # parse() says what is wrong with the former
    way_out = "upgrade llava-edge" if version > FORMAT_VERSION else "export the bundle again"
    raise BundleError(
        f"The bundle {folder} has format version {version}, and this program reads "
        f"{FORMAT_VERSION}; {way_out}."
    )


def _or_a_name() -> str:
    """The other way out, where there are bundles with names."""
    names = bundle_names()
    return f", or a bundle by its name ({', '.join(names)})" if names else ""


def _damaged(folder: Path, problem: str) -> BundleError:
    return BundleError(f"The bundle {folder} is damaged: {problem}; copy or export it again.")


def _record(path: Path) -> FileRecord:
    return FileRecord(size=path.stat().st_size, sha256=sha256_of(path))


def _stamp(path: Path, record: FileRecord) -> str:
    status = path.stat()
    return f"{record.sha256} {status.st_size} {status.st_mtime_ns} {path.resolve()}"


def _read_stamps() -> list[str]:
    try:
        return (cache_folder() / "verified.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []


def _write_stamps(stamps: list[str]) -> None:
    try:
        cache_folder().mkdir(parents=True, exist_ok=True)
        write_atomically(cache_folder() / "verified.txt", "\n".join(stamps[-100:]) + "\n")
    except OSError:
        pass  # where nothing can be remembered, files are hashed each time
