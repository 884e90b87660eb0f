"""The page's own files, which a browser may run and nothing else."""

from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
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
    "frame-ancestors 'none'"
)
_HEADERS = {
    "cache-control": "no-cache",  # asks each time whether the file has changed
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def page_paths(folder: Path = _FOLDER) -> frozenset[str]:
    """The paths that `page_route` answers."""
    return frozenset({"/", *(f"/{name}" for name in _files(folder))})


def page_route(folder: Path = _FOLDER) -> Route:
    """The route of all files in a folder; `/` is its index.html."""
    files = _files(folder)

    async def file(request: Request) -> Response:
        name = request.path_params["name"] or "index.html"
        if name not in files:
            raise HTTPException(404)
        content = files[name].read_bytes()
        headers = {**_HEADERS, "etag": f'"{sha256(content).hexdigest()[:32]}"'}
        if request.headers.get("if-none-match") == headers["etag"]:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=_TYPES[files[name].suffix])

    return Route("/{name:path}", file)


def _files(folder: Path) -> dict[str, Path]:
    """Every file that may be sent, by its path below the folder."""
    paths = (path for path in folder.rglob("*") if path.suffix in _TYPES)
    return {path.relative_to(folder).as_posix(): path for path in paths}
