"""The status page in a real browser, in every state, for every reader."""

import pathlib

import browser
import pytest
import stage

PICTURES = pathlib.Path(__file__).resolve().parents[2] / "target" / "screenshots"
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
LIMIT = 50_000

# Every piece of text that can be seen, with its contrast against what it stands on (WCAG 2: relative luminance).
CONTRASTS = """
(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const ground = (element) => {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(parse(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const linear = (c) => c / 255 <= .03928 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => .2126 * linear(r) + .7152 * linear(g) + .0722 * linear(b);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.data.trim(), element = walker.currentNode.parentElement;
    const style = getComputedStyle(element);
    if (!text || element.getBoundingClientRect().width < 2 || style.visibility === 'hidden') continue;
    const below = ground(element), both = [luminance(over(parse(style.color), below)), luminance(below)];
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    found.push({ text, ratio: (Math.max(...both) + .05) / (Math.min(...both) + .05), needed: large ? 3 : 4.5 });
  }
  return found;
})()
"""

# What sticks out at the side of the window.
STICKING_OUT = """
(() => {
  const right = (one) => one.getBoundingClientRect().right;
  const out = [...document.querySelectorAll('body *')].filter((one) => right(one) > innerWidth + .5);
  return { sticking: out.map((one) => one.outerHTML.slice(0, 80)),
           page: document.documentElement.scrollWidth - innerWidth };
})()
"""


@pytest.fixture(scope="session")
def tab(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("browser") / "home") as tab:
        yield tab


@pytest.fixture(scope="session", params=stage.STATES)
def shown(request, tmp_path_factory):
    """An exporter in one of the states, and the state's name."""
    with stage.STATES[request.param](tmp_path_factory.mktemp("stage") / request.param) as exporter:
        yield request.param, exporter


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_can_be_read(shown, tab, width, scheme):
    """No complaint, no request to elsewhere, nothing to scroll sideways, enough contrast; a picture to look at."""
    state, exporter = shown
    page = tab()
    page.open(exporter.url + "/", width=width, scheme=scheme)
    page.picture(PICTURES / f"{state}-{width}-{scheme}.png")
    assert page.complaints == []
    assert {url for url in page.requests if not url.startswith("data:")} == {exporter.url + "/"}
    assert page.run(STICKING_OUT) == {"sticking": [], "page": 0}
    texts = page.run(CONTRASTS)
    assert len(texts) > 20
    assert [one for one in texts if one["ratio"] < one["needed"]] == []


def text(page):
    return page.run("document.body.innerText")


def test_it_says_what_is_so(shown, tab):
    """To readers without JavaScript as to all others."""
    state, exporter = shown
    status = exporter.status()
    page = tab()
    page.open(exporter.url + "/", script=False)
    body, headline = text(page), page.run("document.getElementById('verdict').innerText")
    said = {"fine": "Fine", "failing": "Failing for", "stuck": "Clients are stuck", "expired": "Expired",
            "starting": "Starting"}[state]
    assert headline.startswith(said) and page.run("document.title").startswith(said)
    assert status["version"] in body and status["endpoint"] in body
    if status["role"]:
        assert status["role"] in body
    if failure := status["failure"]:
        plain = body.replace("\n", " ")
        assert failure["kind"] in body and failure["cause"] in plain and failure["action"] in plain
        links = page.run("[...document.querySelectorAll('main a')].map((one) => one.getAttribute('href'))")
        assert f"/runbook#{failure['kind']}" in links
    cells = page.run("[...document.querySelectorAll('[aria-labelledby=clients] tbody td:nth-child(2)')]"
                     ".map((one) => one.className)")
    assert cells == [{True: "good", False: "bad", None: "unknown"}[one["usable"]] for one in status["clients"]]
    if state == "stuck":
        window, = status["outages"]
        moments = page.run("[...document.querySelectorAll('.banner time')].map((one) => one.dateTime)")
        assert moments == [window[edge][:19] + "Z" for edge in ("start", "end")]
        assert "created again" in body
        pids = page.run("[...document.querySelectorAll('[aria-labelledby=suspects] tbody th')].map((o) => o.innerText)")
        assert pids == [str(suspect["pid"]) for suspect in status["suspects"]] and pids


def test_it_reloads_itself_without_javascript(shown, tab):
    _, exporter = shown
    page = tab()
    page.open(exporter.url + "/", script=False)
    refresh = page.run("document.querySelector('noscript meta[http-equiv=refresh]')?.content ?? ''")
    assert refresh.isdigit() and 10 <= int(refresh) <= 60
    assert page.run("document.querySelector('header label').checkVisibility()") is False


def test_it_can_be_heard(shown, tab):
    """Landmarks, headings in order, tables with headers, and words for the picture."""
    state, exporter = shown
    page = tab()
    page.open(exporter.url + "/", width=360)
    heard = page.heard()
    roles = [role for role, _ in heard]
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    regions = [name for role, name in heard if role == "region"]
    assert len(regions) >= 4 and all(regions)
    assert page.run("document.documentElement.lang") == "en"
    levels = page.run("[...document.querySelectorAll('h1,h2,h3')].map((one) => +one.tagName[1])")
    assert levels[0] == 1 and set(levels[1:]) == {2}
    tables = page.run("document.querySelectorAll('table').length")
    assert roles.count("table") == tables >= 1
    assert roles.count("columnheader") >= 2 * tables and roles.count("rowheader") >= tables
    pictures = [name for role, name in heard if role in ("image", "img")]
    assert len(pictures) == 1 and ("poll" in pictures[0])
    assert all(name for role, name in heard if role in ("link", "button", "checkbox"))


def test_it_is_small(shown):
    _, exporter = shown
    assert len(exporter.get("/")) < LIMIT


def test_it_keeps_itself_up_to_date(tab, tmp_path):
    """With JavaScript it shows a new state in place, says so to those who listen, and tells when the exporter is gone;
    the reader can stop it."""
    page = tab()
    # The test says when the time for the next look has come.
    page.call("Page.addScriptToEvaluateOnNewDocument",
              source="window.setInterval = (look, ms) => { window.look = look; window.every = ms; };")
    with stage.fine(tmp_path / "stage") as exporter:
        page.open(exporter.url + "/")
        assert 1_000 <= page.run("every") <= 15_000
        page.run("look()")
        assert page.run("document.body.className") == "good"
        exporter.tell('fault = "server_error"')
        exporter.reach(up=False)
        asked = len(page.requests)
        page.run("document.getElementById('auto').click()")
        page.run("look()")
        assert len(page.requests) == asked and page.run("document.body.className") == "good"
        page.run("document.getElementById('auto').click()")
        page.run("look()")
        assert page.run("document.body.className") == "bad"
        assert page.run("document.getElementById('verdict').innerText").startswith("Failing")
        assert page.run("document.getElementById('news').textContent") == "Failing"
        assert page.run("document.title").startswith("Failing")
        assert page.run("document.getElementById('lost').checkVisibility()") is False
    page.run("look()")
    assert page.run("document.getElementById('lost').checkVisibility()") is True


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_prints_dark_on_white(shown, tab, scheme):
    _, exporter = shown
    page = tab()
    page.open(exporter.url + "/", width=794, scheme=scheme, media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [one for one in page.run(CONTRASTS) if one["ratio"] < one["needed"]] == []
    assert page.run("document.querySelector('nav').checkVisibility()") is False
