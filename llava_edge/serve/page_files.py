"""The page's own files, which a browser may run and nothing else."""

from functools import partial
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_FOLDER = Path(__file__).parent / "page"
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",  # asks each time whether the file has changed
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_routes(folder: Path = _FOLDER) -> list[Route]:
    """A route for each file of a folder, which is read when it is asked for; `/` is index.html."""
    paths = (path for path in folder.rglob("*") if path.suffix in _TYPES)
    files = {f"/{path.relative_to(folder).as_posix()}": path for path in paths}
    if "/index.html" in files:
        files["/"] = files["/index.html"]
    return [Route(url, partial(_file, path)) for url, path in files.items()]


async def _file(path: Path, request: Request) -> Response:
    content = path.read_bytes()
    headers = {**_HEADERS, "etag": f'"{sha256(content).hexdigest()[:32]}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[path.suffix])
