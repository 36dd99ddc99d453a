"""Markdown to HTML: what must not come through, what must, and how long it may take."""

from __future__ import annotations

import re
import time
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import markdown


class Page(HTMLParser):
    """Every element and attribute that a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.attributes}

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.test></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    "<math><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<svg onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=x></object><embed src=x><base href=//evil.test><meta http-equiv=refresh content='0;url=//evil.test'>",
    '<div hx-get="/incidents/1/close" hx-trigger="load">x</div>',
    '<div data-hx-post="/x" hx-on:click="alert(1)">x</div>',
    "<form action=/logout method=post><input name=csrfmiddlewaretoken value=x><button>x</button></form>",
    "<a id=csrf name=location href=/x>x</a>",
    "<p style='position:fixed;inset:0'>x</p>",
    "<details ontoggle=alert(1) open>x</details>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    '[x](javascript:alert(1) "t")',
    "[x](JaVaScRiPt&#58;alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](file:///etc/passwd)",
    "[x](//evil.test)",
    "[x](/\\evil.test)",
    "[x](/\t/evil.test)",
    "[x](\\\\evil.test)",
    "[x](https:evil.test)",
    "[x](https:///evil.test)",
    "[x](https://me.test@evil.test)",
    "[x](https://evil.test:99999/)",
    "[x](relative/path)",
    "[x][y]\n\n[y]: javascript:alert(1)",
    "<javascript:alert(1)>",
    "![x](https://evil.test/?leak=1)",
    "![x](//evil.test/?leak=1)",
    "![x](javascript:alert(1))",
    "![x](/incidents/1/close)",
    "![x](/files/../logout)",
    "![x](data:image/svg+xml,<svg onload=alert(1)>)",
    '[x](/a "onmouseover=alert(1)")',
    '[x](/a"onmouseover=alert(1))',
    '```python {#id .class onclick="alert(1)"}\nx\n```',
    '```"><script>alert(1)</script>\nx\n```',
    "# heading {#csrf onclick=alert(1)}",
    "- [ ] <input autofocus onfocus=alert(1)>",
    "|<script>|\n|-|\n|<img src=x onerror=alert(1)>|",
    '<a href="https://evil.test" target=_blank rel=opener>x</a>',
    "<<script>script>alert(1)<</script>/script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_it_lets_nothing_active_through(text: str) -> None:
    page = Page(markdown.to_html(text))
    assert page.tags <= markdown.TAGS
    assert page.names <= {"href", "src", "alt", "title", "class", "start", "open", "rel"}
    assert all(markdown.link_is_safe(href) for href in page.values("href"))
    assert all(source.startswith(markdown.UPLOADS) and ".." not in source for source in page.values("src"))


@pytest.mark.parametrize("href", ["//evil.test", "/\\evil.test", "javascript:x", "https://a@b.test", "x", "", "#a"])
def test_it_keeps_no_link_of_this_form(href: str) -> None:
    assert not markdown.link_is_safe(href)


@pytest.mark.parametrize("href", ["/incidents/1?a=b#c", "https://a.test", "http://a.test:81/x", "mailto:a@b.test"])
def test_it_keeps_links_of_this_form(href: str) -> None:
    assert f'href="{href}"' in markdown.to_html(f"[x]({href})").replace("&amp;", "&")


def test_it_marks_links_that_lead_elsewhere() -> None:
    page = Page(markdown.to_html("[x](https://a.test) [y](/incidents/1)"))
    assert page.values("rel") == [markdown.REL] * 2
    assert page.values("class") == ["external"]


def test_it_turns_a_remote_picture_into_a_link() -> None:
    made = markdown.to_html("![chart](https://a.test/c.png) ![own](/files/c.png)")
    assert Page(made).values("src") == ["/files/c.png"]
    assert ">chart</a>" in made


def test_it_shows_raw_html_as_text() -> None:
    assert "&lt;unk&gt;" in markdown.to_html("the token <unk> came 40 times")


def test_it_renders_what_people_write() -> None:
    text = "# T\n\n**b** *i* ~~d~~ `c`\n\n- [ ] a\n- [x] b\n\n|h|\n|-|\n|c|\n\n```mermaid\ngraph TD; A-->B\n```\n"
    made = markdown.to_html(text)
    assert {"h1", "strong", "em", "del", "code", "ul", "table"} <= Page(made).tags
    assert '<code class="language-mermaid">graph TD; A--&gt;B' in made
    assert "☐ a" in made
    assert "☑ b" in made


def test_it_drops_invisible_and_stacked_characters() -> None:
    made = markdown.to_html("safe\u202egnp.exe\u200b a" + "\u0301" * 10_000)
    assert not re.search("[\u202e\u200b]", made)
    assert len(made) < 100


SLOW = {
    "brackets": "[" * 20_000,
    "images": "![" * 8_000,
    "deep list": "\n".join("  " * level + "- x" for level in range(300)),
    "deep list on one line": "- " * 300 + "x",
    "deep quote": "\n".join(">" * level + " x" for level in range(300)),
    "wide table": "\n".join("|".join([cell] * 5_000) for cell in ("a", "-", "b")),
    "stars": "*a " * 10_000,
    "backticks": "`a" * 10_000,
    "tags": "<a " * 20_000,
    "comments": "<!--" * 10_000,
    "entities": "&#" * 10_000,
    "definitions": "[a]: x\n" * 20_000,
    "links": "[a](http://x.test) " * 450,
    "addresses": "a.b@c.d " * 2_400,
    "fences": "```\n" * 5_000,
    "folds": "??? a\n" * 5_000,
    "paragraphs": "one *two*\n\n" * 15_000,
    "terms": "a\n: b\n\n" * 8_000,
    "tables": ("|a|b|\n|-|-|\n" + "|c|d|\n" * 20 + "\n") * 500,
    "newlines": "\n" * 190_000,
    "backslashes": "\\" * 19_000,
    "blanks": " " * 19_000 + "a",
    "items": ("- " + "[" * 390 + "\n") * 400,
    "items after text": "text\n" + ("- " + "[" * 390 + "\n") * 400,
    "items of stars": ("- " + "*a " * 130 + "\n") * 400,
    "megabytes": "a b\n" * 1_000_000,
}


@pytest.mark.parametrize("name", SLOW)
def test_it_gives_up_in_time(name: str) -> None:
    # Processor time and the better of two tries: the promise is about our work and not about the neighbours'.
    spent = []
    for _ in range(2):
        before = time.process_time()
        made = markdown.to_html(SLOW[name])
        spent.append(time.process_time() - before)
        assert Page(made).tags <= markdown.TAGS
        if spent[-1] < 1.5:
            break
    # Twice the promise of 2 s: a shared machine can be half as fast as the one it was measured on.
    assert min(spent) < 4


def test_it_shows_the_text_itself_when_it_gives_up() -> None:
    assert markdown.to_html("[" * 20_000).startswith('<pre class="plain">[[[')


@given(st.text(alphabet="[]()<>!*_`~|-#:\\\"'/&;=\n\tajx0 ", max_size=200))
@settings(max_examples=150, deadline=None)
def test_it_lets_nothing_through_that_was_not_thought_of(text: str) -> None:
    page = Page(markdown.to_html(text))
    assert page.tags <= markdown.TAGS
    assert all(markdown.link_is_safe(href) for href in page.values("href"))


def test_it_renders_a_list_of_three_hundred_cited_lines() -> None:
    made = markdown.to_html(
        "".join(f"- **10:00** It said “x” [[T{n}]](/a#t-{n}) [[E{n}]](/a/{n}).\n" for n in range(300))
    )
    assert made.count("<li>") == 300
    assert made.count("<a href") == 600


def test_it_renders_a_long_honest_document() -> None:
    lines = "".join(f"- **10:00** Something happened [T{n}] [E{n}].\n" for n in range(30))
    rows = "".join(f"| [E{n}] | *step* {n} | found | `rate(x[5m])` by (le) | abc |\n" for n in range(30))
    made = markdown.to_html(f"# T\n\n{lines}\n| a | b | c | d | e |\n|---|---|---|---|---|\n{rows}")
    assert made.count("<tr>") == 31
    assert made.count("<li>") == 30
