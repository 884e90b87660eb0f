"""Answers as markdown: what is shown, and that a hostile answer is only words."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from page_driver import Dictation, ask, choose, picture
from serving import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SHOW = """async texts => {
    const { showMarkdown } = await import(new URL("markdown.js", document.baseURI));
    const target = document.createElement("div");
    for (const text of texts) showMarkdown(target, text);
    return target.innerHTML;
}"""
LINK = 'target="_blank" rel="noopener noreferrer nofollow"'


@pytest.fixture(scope="module")
def still_page(browser: "Browser", server: Served) -> "Iterator[Page]":
    """One page for all tests that only build nodes."""
    page = browser.new_page()
    page.goto(server.url)
    yield page
    page.close()


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("Two\nlines.\n\nA paragraph.", "<p>Two\nlines.</p><p>A paragraph.</p>"),
        (
            "**Bold**, *slanted*, _too_, ~~gone~~ and `a*b*c`.",
            "<p><strong>Bold</strong>, <em>slanted</em>, <em>too</em>, <del>gone</del> "
            "and <code>a*b*c</code>.</p>",
        ),
        ("**bold *and* slanted**", "<p><strong>bold <em>and</em> slanted</strong></p>"),
        ("2 * 3 * 4, a_b_c and \\*stars\\*", "<p>2 * 3 * 4, a_b_c and *stars*</p>"),
        ("## Parts ##\nWords", "<h4>Parts</h4><p>Words</p>"),
        ("Words:\n- one\n- two", "<p>Words:</p><ul><li>one</li><li>two</li></ul>"),
        (
            "3. one\n   - inner\n   - more\n\n4. two",
            '<ol start="3"><li>one<ul><li>inner</li><li>more</li></ul></li><li>two</li></ol>',
        ),
        ("> quoted\n> words\n\nmine", "<blockquote><p>quoted\nwords</p></blockquote><p>mine</p>"),
        ("one\n\n---\n\ntwo", "<p>one</p><hr><p>two</p>"),
        (
            "```python\nprint('*a*')\n\n<b>\n```\nafter",
            '<pre tabindex="0" role="region" aria-label="Code: python">'
            "<code>print('*a*')\n\n&lt;b&gt;</code></pre><p>after</p>",
        ),
        (
            "```\nstill written",
            '<pre tabindex="0" role="region" aria-label="Code"><code>still written</code></pre>',
        ),
        (
            "| a | b |\n|---|:-:|\n| 1 | **2** |",
            '<div class="wide-table" tabindex="0" role="region" aria-label="Table"><table><thead>'
            "<tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1</td>"
            "<td><strong>2</strong></td></tr></tbody></table></div>",
        ),
        (
            "[here](https://a.example/b?c=d), https://a.example/e.",
            f'<p><a href="https://a.example/b?c=d" title="https://a.example/b?c=d" {LINK}>here</a>'
            f', <a href="https://a.example/e" title="https://a.example/e" {LINK}>'
            "https://a.example/e</a>.</p>",
        ),
        ("![a cat](https://a.example/x.png)", "<p>a cat</p>"),
        ("[run](javascript:alert(1))", "<p>[run](javascript:alert(1))</p>"),
        ("[run](data:text/html,hi)", "<p>[run](data:text/html,hi)</p>"),
        ("<img src=x onerror=alert(1)>", "<p>&lt;img src=x onerror=alert(1)&gt;</p>"),
        ("*", "<p>*</p>"),
        ("- ", "<ul><li></li></ul>"),
        ("", ""),
    ],
)
def test_markdown_becomes_nodes(still_page: "Page", text: str, html: str) -> None:
    assert still_page.evaluate(SHOW, [text]) == html


def test_an_answer_that_grows_ends_as_if_it_came_at_once(still_page: "Page") -> None:
    text = "# Scene\n\nA **red** taxi:\n\n1. wheels\n   - four\n2. `doors`\n\n| a |\n| - |\n| 1 |\n"
    grown = still_page.evaluate(SHOW, [text[:end] for end in range(len(text) + 1)])
    assert grown == still_page.evaluate(SHOW, [text])


@pytest.mark.parametrize("text", [">" * 20000, "**__" * 5000, "[" * 20000, "`" * 9999 + "a"])
def test_hostile_depth_ends(still_page: "Page", text: str) -> None:
    assert still_page.evaluate(SHOW, [text])


HOSTILE = """<script>window.harmed = true</script>

<img src=x onerror="window.harmed = true">

<svg onload="window.harmed = true"><a xlink:href="javascript:window.harmed=true">x</a></svg>

[one](javascript:window.harmed=true) [two](JaVaScRiPt:window.harmed=true)
[three](data:text/html;base64,PHNjcmlwdD4=) [four](vbscript:x) [five](//evil.example/x)

![pixel](https://evil.example/pixel.png?q=secret) <https://evil.example/auto>

| <img src=x onerror=window.harmed=true> |
| --- |
| `<iframe src=https://evil.example>` |

```html onmouseover=window.harmed=true
</code></pre><script>window.harmed = true</script>
```
"""


def test_a_hostile_answer_is_only_words(says: Dictation, page: "Page") -> None:
    """Requests to other places and faults of the policy are noted for every test."""
    says.words.append(HOSTILE)
    shown = ask(page, "Attack me.")
    assert "<script>window.harmed = true</script>" in shown
    made = page.locator(".words *").evaluate_all("all => all.map(node => node.localName)")
    assert set(made) <= {
        *("a", "code", "div", "p", "pre", "table", "tbody", "td", "th", "thead", "tr")
    }
    links = page.locator(".words a").evaluate_all("all => all.map(node => node.href)")
    assert links == ["https://evil.example/auto"]
    page.reload()
    page.wait_for_selector(".words p")
    assert page.evaluate("window.harmed") is None


def test_the_page_makes_no_html_of_strings(page: "Page") -> None:
    """With Trusted Types (W3C) the browser refuses each place that would."""
    policy = page.reload().headers["content-security-policy"]  # type: ignore[union-attr]
    assert "unsafe" not in policy and policy.startswith("default-src 'none'; ")
    assert policy.endswith("require-trusted-types-for 'script'; trusted-types 'none'")
    page.wait_for_selector("#model:not(:empty)")
    says = Dictation(page)
    says.words.append("A **red** [link](https://a.example), `code` and\n\n- a list")
    choose(page, picture())
    ask(page, "What is it?")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.wait_for_selector("kbd")


def test_the_name_of_a_picture_is_only_words(says: Dictation, page: "Page") -> None:
    choose(page, picture("<img src=x onerror=window.harmed=true>.png"))
    ask(page, "<b>What</b> is it?")
    assert page.locator(".bubble").inner_text() == "<b>What</b> is it?"
    page.locator(".pictures button").click()
    page.wait_for_selector("figcaption:text('<img src=x')")
    assert page.evaluate("window.harmed") is None
