"""The bundle folder: read strictly, written so that it is whole or not there."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from llava_edge.core.bundle_config import FORMAT_VERSION, BundleConfig, DeviceName, FileRecord
from llava_edge.core.strict import parse
from llava_edge.core.user_folders import cache_folder, data_folder
from llava_edge.errors import BundleError

BUNDLE_JSON = "bundle.json"
TOKENIZER_JSON = "tokenizer.json"
WEIGHTS_BIN = "weights.bin"

ENVIRONMENT_VARIABLE = "LLAVA_EDGE_BUNDLE"
ALWAYS_HASHED = 16 * 2**20  # bytes; larger files are hashed once, then known by their stamp


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
    """The bundle named, else `$LLAVA_EDGE_BUNDLE`, else the demo's; absent, a BundleError."""
    if bundle is None:
        bundle = os.environ.get(ENVIRONMENT_VARIABLE) or None
    folder = Path(bundle).expanduser() if bundle is not None else demo_bundle()
    if (folder / BUNDLE_JSON).is_file():
        return folder
    if bundle is None:
        raise BundleError(
            f"The demo bundle is not at {folder} yet; run `make demo` in a clone of llava-edge, "
            f"or name another bundle with --bundle or ${ENVIRONMENT_VARIABLE}."
        )
    problem = f"holds no {BUNDLE_JSON}" if folder.exists() else "does not exist"
    raise BundleError(
        f"{folder} is not a bundle, since it {problem}; "
        "name a folder that `llava-edge export` has written."
    )


def demo_bundle() -> Path:
    """Where `make demo` puts its bundle."""
    return data_folder() / "demo"


def read_bundle(folder: Path) -> BundleConfig:
    """Read `bundle.json` and check that every file is there with its size; raises BundleError."""
    config = _read_config(folder)
    if wrong := set(config.files) ^ set(bundle_files(config.devices)):
        raise _damaged(
            folder,
            f"its {BUNDLE_JSON} does not list just the bundle's files ({', '.join(sorted(wrong))})",
        )
    for name, record in config.files.items():
        path = folder / name
        if not path.is_file():
            raise _damaged(folder, f"{name} is missing")
        if (size := path.stat().st_size) != record.size:
            raise _damaged(folder, f"{name} has {size:,} bytes instead of {record.size:,}")
    return config


def verify_checksums(folder: Path, config: BundleConfig) -> None:
    """Hash every file; raises BundleError at the first that was altered."""
    for name, record in config.files.items():
        if _sha256(folder / name) != record.sha256:
            raise _damaged(folder, f"{name} was altered (its sha256 differs)")


def verify_once(folder: Path, config: BundleConfig) -> None:
    """Like verify_checksums, but large files that were hashed before and not touched are skipped.

    What was hashed is remembered by path, size and time of change in the user's cache folder.
    """
    stamps = _read_stamps()
    large = {name for name, record in config.files.items() if record.size > ALWAYS_HASHED}
    stamp_of = {name: _stamp(folder / name, config.files[name]) for name in large}
    known = {name for name, stamp in stamp_of.items() if stamp in stamps}
    files = {name: record for name, record in config.files.items() if name not in known}
    verify_checksums(folder, replace(config, files=files))
    if known != large:
        _write_stamps([*stamps, *(stamp_of[name] for name in sorted(large - known))])


def write_bundle_json(folder: Path, config: BundleConfig) -> BundleConfig:
    """Record size and sha256 of the folder's files in `config.files`, then write `bundle.json`.

    Written last and at one stroke, it is what makes the folder a bundle. Returns what was written.
    """
    files = {name: _record(folder / name) for name in bundle_files(config.devices)}
    return rewrite_bundle_json(folder, replace(config, files=files))


def rewrite_bundle_json(folder: Path, config: BundleConfig) -> BundleConfig:
    """Write `bundle.json` at one stroke; returns what was written."""
    text = json.dumps(asdict(config), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / BUNDLE_JSON, text)
    return config


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file under a temporary name, then rename it: whole or not there."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _read_config(folder: Path) -> BundleConfig:
    path = folder / BUNDLE_JSON
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _damaged(folder, f"{BUNDLE_JSON} cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise _damaged(folder, f"{BUNDLE_JSON} is not JSON ({error})") from error
    _check_version(folder, data)
    try:
        config = parse(BundleConfig, data)
        _check_positive(config)
    except ValueError as error:
        raise _damaged(folder, f"in {BUNDLE_JSON} {error}") from error
    return config


def _check_positive(config: BundleConfig) -> None:
    """Sizes that something is divided by or allocated for."""
    decoder, vision = vars(config.decoder), config.vision
    sizes = {f"decoder.{name}": size for name, size in decoder.items() if isinstance(size, int)}
    sizes["decoder.embedding.block_size"] = config.decoder.embedding.block_size
    sizes["vision.image_tokens"] = vision.image_tokens
    sizes["vision.image.size"] = vision.image.size
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, not 1 or more")


def _check_version(folder: Path, data: Any) -> None:
    version = data.get("format_version") if isinstance(data, dict) else None
    if type(version) is not int or version == FORMAT_VERSION:
        return  # parse() says what is wrong with the former
    way_out = "upgrade llava-edge" if version > FORMAT_VERSION else "export the bundle again"
    raise BundleError(
        f"The bundle {folder} has format version {version}, and this program reads "
        f"{FORMAT_VERSION}; {way_out}."
    )


def _damaged(folder: Path, problem: str) -> BundleError:
    return BundleError(
        f"The bundle {folder} is damaged: {problem}; copy it again or export it anew."
    )


def _record(path: Path) -> FileRecord:
    return FileRecord(size=path.stat().st_size, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(2**20):
            yield block


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
