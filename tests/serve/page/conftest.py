"""A browser, and the page in it; no test may break its policy or reach beyond its server."""

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from page_driver import Dictation
from serving import HeldLlava, Served, held, serving_model

from llava_edge import Llava

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--no-sandbox",  # which root cannot have
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)


@pytest.fixture(scope="module")  # playwright keeps a loop of asyncio, which other tests need
def browser() -> "Iterator[Browser]":
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install '.[browser]'"
    )
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Callable[..., "Page"]]:
    """Opens an address in a profile of its own, whose settings are given."""
    contexts, faults = [], []

    def visit(url: str, **settings: Any) -> "Page":
        context = browser.new_context(**settings)
        contexts.append(context)
        context.on("page", lambda page: watch(page, url, faults))
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(url)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def watch(page: "Page", url: str, faults: list[str]) -> None:
    """Notes exceptions, what the policy refused, and requests that go elsewhere."""
    allowed = (url, "blob:" + url, "data:image/")
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            if message.type in ("error", "warning") and "Failed to load" not in message.text
            else None
        ),
    )
    page.on(
        "request",
        lambda request: (
            None if request.url.startswith(allowed) else faults.append(f"asked {request.url}")
        ),
    )


@pytest.fixture
def open_page(visit: Callable[..., "Page"]) -> Callable[..., "Page"]:
    """Opens the page of a server, and waits until it knows the model."""

    def open_page(served: Served, **settings: Any) -> "Page":
        permissions = ["clipboard-read", "clipboard-write", "camera"]
        page = visit(served.url, permissions=permissions, **settings)
        page.wait_for_selector("#model:not(:empty)", state="attached")
        return page

    return open_page


@pytest.fixture
def page(open_page: Callable[..., "Page"], server: Served) -> "Page":
    return open_page(server)


@pytest.fixture
def says(page: "Page") -> Dictation:
    return Dictation(page)


@pytest.fixture
def waits(request: pytest.FixtureRequest, roomy_model: Llava) -> HeldLlava:
    """A model that waits amid its answers, or before a piece whose number is given.

    Piece 0 tells that the prompt is being read, piece 1 is the first word.
    """
    return held(roomy_model, getattr(request, "param", 4))


@pytest.fixture
def waiting_page(open_page: Callable[..., "Page"], waits: HeldLlava) -> "Iterator[Page]":
    """The page over that model."""
    with serving_model(waits) as served:
        yield open_page(served)
        waits.release.set()
