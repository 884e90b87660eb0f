"""Pictures that no encoder remembers."""

import io
from pathlib import Path

from llava_edge.core.picture import load_picture


def unseen(path: Path, number: int) -> bytes:
    """The file of a picture with a box painted on it, whose colour tells the number."""
    picture = load_picture(path)
    width, height = picture.size
    colour = (37 * number % 256, 90 + number // 256 % 128, 160)
    picture.paste(colour, (width // 4, height // 4, width * 3 // 4, height * 3 // 4))
    file = io.BytesIO()
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    picture.save(file, "JPEG" if is_jpeg else "PNG", quality=95)
    return file.getvalue()
