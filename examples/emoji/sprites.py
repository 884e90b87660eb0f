"""Install the emoji sets with npm and render every named object of every style into one file.

python examples/emoji/sprites.py            # npm install, then build/emoji/sprites.npz
"""

import argparse
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from names import FLUENT_STYLES, TRAINING_STYLES, load_names
from numpy.typing import NDArray
from PIL import Image

SIDE = 160  # pixels of a rendered sprite
DEFAULT_SPRITES = Path("build/emoji/sprites.npz")


@dataclass(frozen=True)
class SpriteSheet:
    """Sprites as straight-alpha RGBA, `pixels` [N, SIDE, SIDE, 4] uint8, by (style, name)."""

    pixels: NDArray[np.uint8]
    rows: dict[tuple[str, str], int]

    def sprite(self, style: str, name: str) -> Image.Image:
        """One object, cropped to its opaque part."""
        image = Image.fromarray(self.pixels[self.rows[style, name]])
        return image.crop(image.getchannel("A").getbbox())

    def styles_of(self, name: str) -> set[str]:
        """The styles that draw this object."""
        return {style for style, drawn in self.rows if drawn == name}

    def names_in(self, styles: tuple[str, ...]) -> list[str]:
        """The objects that any of the styles draws, in the order of names.json."""
        drawn = {name for style, name in self.rows if style in styles}
        return [name for name in load_names() if name in drawn]


def save_sheet(path: Path, sprites: dict[tuple[str, str], NDArray[np.uint8]]) -> None:
    """Write sprites to an .npz file, under a temporary name until it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.part.npz")
    keys = sorted(sprites)
    np.savez_compressed(
        temporary, pixels=np.stack([sprites[key] for key in keys]), keys=np.array(keys)
    )
    temporary.replace(path)


def load_sheet(path: Path = DEFAULT_SPRITES) -> SpriteSheet:
    """Read a sprite sheet that `save_sheet` wrote."""
    if not path.exists():
        raise SystemExit(f"{path} is missing: run `python examples/emoji/sprites.py` first.")
    with np.load(path) as stored:
        rows = {(str(style), str(name)): row for row, (style, name) in enumerate(stored["keys"])}
        return SpriteSheet(stored["pixels"], rows)


def install_sets(folder: Path) -> Path:
    """Install the pinned npm packages into a folder; returns its node_modules."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(Path(__file__).with_name(file), folder / file)
    subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit"], cwd=folder, check=True)
    return folder / "node_modules"


def svg_icons(package: Path, wanted: set[str]) -> Iterator[tuple[str, str]]:
    """The icons of an iconify package as (name, SVG text)."""
    icon_set = json.loads((package / "icons.json").read_text(encoding="utf-8"))
    sides = {key: icon_set.get(key, default) for key, default in _VIEW_BOX.items()}
    for name in sorted(wanted):
        icon = sides | icon_set["icons"][name]
        box = f"{icon['left']} {icon['top']} {icon['width']} {icon['height']}"
        yield name, f'<svg xmlns="{_SVG}" viewBox="{box}">{icon["body"]}</svg>'


_VIEW_BOX = {"left": 0, "top": 0, "width": 16, "height": 16}
_SVG = "http://www.w3.org/2000/svg"


def render_svg(svg: str) -> NDArray[np.uint8]:
    """Draw an SVG; returns [SIDE, SIDE, 4] RGBA."""
    import resvg_py  # only this step needs it

    png = resvg_py.svg_to_bytes(svg_string=svg, width=SIDE, height=SIDE, skip_system_fonts=True)
    return fitted(Image.open(io.BytesIO(bytes(png))))


def fitted(image: Image.Image) -> NDArray[np.uint8]:
    """An image as a [SIDE, SIDE, 4] RGBA sprite."""
    rgba = image.convert("RGBA")
    if rgba.size != (SIDE, SIDE):
        rgba = rgba.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    return np.asarray(rgba)


def render_style(modules: Path, style: str) -> dict[tuple[str, str], NDArray[np.uint8]]:
    """Draw all named objects of one style."""
    icons = {n.name: n.icons[style] for n in load_names().values() if style in n.icons}
    if style == "fluent-3d":
        assets = modules / "@lobehub/fluent-emoji-3d/assets"
        drawn = {icon: fitted(Image.open(assets / f"{icon}.webp")) for icon in icons.values()}
    else:
        svgs = svg_icons(modules / "@iconify-json" / style, set(icons.values()))
        drawn = {icon: render_svg(svg) for icon, svg in svgs}
    return {(style, name): drawn[icon] for name, icon in icons.items()}


def main() -> None:
    """Install, render, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_SPRITES)
    parser.add_argument("--modules", type=Path, help="a node_modules folder that holds the sets")
    options = parser.parse_args()
    modules = options.modules or install_sets(options.out.parent / "npm")
    styles = (*TRAINING_STYLES, *FLUENT_STYLES)
    sprites: dict[tuple[str, str], NDArray[np.uint8]] = {}
    with ProcessPoolExecutor(2) as pool:
        for rendered in pool.map(render_style, [modules] * len(styles), styles):
            sprites |= rendered
    save_sheet(options.out, sprites)
    print(f"{len(sprites)} sprites of {len(load_names())} objects in {options.out}")


if __name__ == "__main__":
    main()
