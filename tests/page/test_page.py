"""The status page in a real browser, in every state."""

import browser
import pytest

from helpers import states
from helpers.control_groups import control_group
from helpers.paths import ROOT

SCREENSHOTS = ROOT / "target" / "screenshots"
WIDTHS = (1280, 360)
SCHEMES = ("light", "dark")
LIMIT_BYTES = 50_000

# Every visible text with its contrast to the background behind it (WCAG 2: relative luminance).
CONTRASTS = """
(() => {
  const parse = (text) => { const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number); return [r, g, b, a]; };
  const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3])).concat(1);
  const background = (element) => {
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
    const below = background(element), both = [luminance(over(parse(style.color), below)), luminance(below)];
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    found.push({ text, ratio: (Math.max(...both) + .05) / (Math.min(...both) + .05), needed: large ? 3 : 4.5 });
  }
  return found;
})()
"""

# Elements that are wider than the window.
OVERFLOW = """
(() => {
  const right = (one) => one.getBoundingClientRect().right;
  const out = [...document.querySelectorAll('body *')].filter((one) => right(one) > innerWidth + .5);
  return { elements: out.map((one) => one.outerHTML.slice(0, 80)),
           page: document.documentElement.scrollWidth - innerWidth };
})()
"""


@pytest.fixture(scope="session")
def open_tab(tmp_path_factory):
    with browser.chromium(tmp_path_factory.mktemp("browser")) as open_tab:
        yield open_tab


@pytest.fixture(scope="session", params=states.STATES)
def state(request):
    """The name of a state, and an exporter in it."""
    with states.STATES[request.param]() as exporter:
        yield request.param, exporter


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_is_readable_at_every_width_and_color_scheme(state, open_tab, width, scheme):
    """No error, no external request, no horizontal scrolling, enough contrast. Leaves a screenshot."""
    name, exporter = state
    page = open_tab()
    page.open(exporter.url + "/", width=width, scheme=scheme)
    page.screenshot(SCREENSHOTS / f"{name}-{width}-{scheme}.png")
    assert page.messages == []
    assert {url for url in page.requests if not url.startswith("data:")} == {exporter.url + "/"}
    assert page.run(OVERFLOW) == {"elements": [], "page": 0}
    texts = page.run(CONTRASTS)
    assert len(texts) > 20
    assert [one for one in texts if one["ratio"] < one["needed"]] == []


def text(page):
    return page.run("document.body.innerText")


def test_it_states_the_facts_without_javascript(state, open_tab):
    name, exporter = state
    status = exporter.status()
    page = open_tab()
    page.open(exporter.url + "/", script=False)
    body, headline = text(page), page.run("document.getElementById('verdict').innerText")
    expected = {"fine": "Fine", "failing": "Failing for", "stuck": "Clients are stuck", "expired": "Expired",
            "fallback": "Fine", "shadowed": "IMDS is not used here", "starting": "Starting"}[name]
    assert headline.startswith(expected) and page.run("document.title").startswith(expected)
    assert status["version"] in body and status["endpoint"] in body
    if status["role"]:
        assert status["role"] in body
    if failure := status["failure"]:
        plain = body.replace("\n", " ")
        assert failure["kind"] in body and failure["cause"] in plain and failure["action"] in plain
        links = page.run("[...document.querySelectorAll('main a')].map((one) => one.getAttribute('href'))")
        assert f"runbook#{failure['kind']}" in links
    cells = page.run("[...document.querySelectorAll('[aria-labelledby=clients] tbody td:nth-child(2)')]"
                     ".map((one) => one.className)")
    shown = [] if status["chain_shadowed"] else status["clients"]
    assert cells == [{True: "good", False: "bad", None: "unknown"}[one["usable"]] for one in shown]
    if name == "fallback":
        assert f"by IMDSv1 only: the token request fails with {status['v1_fallback']}" in body.replace("\n", " ")
        assert "AWS_EC2_METADATA_V1_DISABLED=true would break the workload" in body.replace("\n", " ")
    if name == "stuck":
        window, = status["outages"]
        moments = page.run("[...document.querySelectorAll('.banner time')].map((one) => one.dateTime)")
        assert moments == [window[edge][:19] + "Z" for edge in ("start", "end")]
        assert "re-created" in body
        pids = page.run("[...document.querySelectorAll('[aria-labelledby=suspects] tbody th')].map((o) => o.innerText)")
        assert pids == [str(suspect["pid"]) for suspect in status["suspects"]] and pids


def test_it_speaks_of_clients_of_the_start_only_where_a_workload_is_declared(state, open_tab):
    name, exporter = state
    page = open_tab()
    page.open(exporter.url + "/", script=False)
    about_the_start = "created when the workload started" in text(page)
    assert about_the_start == (name == "stuck")
    if name == "shadowed":
        # IMDS fails, but nothing is said of clients.
        assert page.run("document.querySelector('[aria-labelledby=clients]') === null")
        assert "IMDS is not used here" in text(page)


POD_UID, CONTAINER = "4c2d1e5f-6a7b-4c8d-9e0f-1a2b3c4d5e6f", "3f1c5e9a" * 8
OWNERS = {
    f"kubepods/burstable/pod{POD_UID}/{CONTAINER}": f"delete the pod with the UID {POD_UID} (container {CONTAINER[:12]})",
    f"docker/{CONTAINER}": f"restart the container {CONTAINER[:12]}",
    "system.slice/a-service-with-a-rather-long-name.service":
        "systemctl restart a-service-with-a-rather-long-name.service",
}


@pytest.mark.parametrize("path", OWNERS, ids=["pod", "container", "unit"])
def test_suspects_are_named_with_their_remedy(open_tab, path):
    with control_group(path) as group, states.stuck(preexec_fn=group.add_self) as exporter:
        page = open_tab()
        suspect, = exporter.status()["suspects"]
        for width in WIDTHS:
            page.open(exporter.url + "/", width=width, script=False)
            cells = page.run("[...document.querySelectorAll('[aria-labelledby=suspects] tbody td')].map((o) => o.innerText)")
            command, started, remedy = cells
            assert command == suspect["command"] and started.startswith(suspect["started_at"][:10])
            assert remedy == OWNERS[path]
            assert "Watched processes: 1." in text(page)
            assert page.run(OVERFLOW) == {"elements": [], "page": 0}
            # No column but the last is so narrow that a word in it is broken.
            lines = page.run("[...document.querySelectorAll('[aria-labelledby=suspects] :is(th, td:not(:last-child))')]"
                             ".filter((one) => one.offsetWidth > 1)"
                             ".map((one) => { const all = document.createRange(); all.selectNodeContents(one);"
                             "  return new Set([...all.getClientRects()].map((box) => Math.round(box.bottom))).size; })")
            assert lines and set(lines) == {1}, (width, lines)


def test_the_proxy_trap_is_named(open_tab):
    page = open_tab()
    for more, named in (({}, False), ({"HTTP_PROXY": "http://proxy:3128"}, True),
                        ({"HTTP_PROXY": "http://proxy:3128", "NO_PROXY": "127.0.0.1"}, False)):
        with states.simulated(**more) as (_, exporter):
            exporter.reach(up=True)
            page.open(exporter.url + "/", script=False)
            assert ("boto3 would ask IMDS through a proxy" in text(page)) == named


def test_it_reloads_itself_without_javascript(state, open_tab):
    _, exporter = state
    page = open_tab()
    page.open(exporter.url + "/", script=False)
    refresh = page.run("document.querySelector('noscript meta[http-equiv=refresh]')?.content ?? ''")
    assert refresh.isdigit() and 10 <= int(refresh) <= 60
    assert page.run("document.querySelector('header label').checkVisibility()") is False


def test_a_screen_reader_can_read_it(state, open_tab):
    """Landmarks, headings in order, tables with headers, and a text for the timeline."""
    _, exporter = state
    page = open_tab()
    page.open(exporter.url + "/", width=360)
    tree = page.accessibility_tree()
    roles = [role for role, _ in tree]
    for landmark in ("banner", "main", "navigation", "contentinfo"):
        assert roles.count(landmark) == 1, landmark
    regions = [name for role, name in tree if role == "region"]
    assert len(regions) >= 4 and all(regions)
    assert page.run("document.documentElement.lang") == "en"
    levels = page.run("[...document.querySelectorAll('h1,h2,h3')].map((one) => +one.tagName[1])")
    assert levels[0] == 1 and set(levels[1:]) == {2}
    tables = page.run("document.querySelectorAll('table').length")
    assert roles.count("table") == tables >= 1
    assert roles.count("columnheader") >= 2 * tables and roles.count("rowheader") >= tables
    images = [name for role, name in tree if role in ("image", "img")]
    assert len(images) == 1 and ("poll" in images[0])
    assert all(name for role, name in tree if role in ("link", "button", "checkbox"))


def test_it_is_small(state):
    _, exporter = state
    assert len(exporter.get("/").encode()) < LIMIT_BYTES


# Relative, so that they work behind a path prefix.
NAVIGATION = [("Status", "./"), ("Runbook", "runbook"), ("Status as JSON", "api/v1/status"), ("Metrics", "metrics")]


@pytest.mark.parametrize("path", ["/", "/runbook"])
def test_every_page_links_to_the_others(state, open_tab, path):
    _, exporter = state
    page = open_tab()
    page.open(exporter.url + path)
    links = page.run("[...document.querySelectorAll('nav a')].map((one) => [one.innerText, one.getAttribute('href')])")
    assert links == [list(link) for link in NAVIGATION]
    for _, target in NAVIGATION:
        assert exporter.get("/" + target.removeprefix("./"))


def test_it_updates_itself(open_tab):
    """With JavaScript it shows a new state in place, announces it to screen readers, and reports when the exporter does
    not answer; the reader can stop it."""
    page = open_tab()
    # The test decides when an update is due.
    page.call("Page.addScriptToEvaluateOnNewDocument",
              source="window.setInterval = (update, ms) => { window.update = update; window.interval = ms; };")
    with states.fine_with_simulator() as (simulator, exporter):
        page.open(exporter.url + "/")
        assert 1_000 <= page.run("interval") <= 15_000
        page.run("update()")
        assert page.run("document.body.className") == "good"
        simulator.change('fault = "server_error"')
        exporter.reach(up=False)
        requests = len(page.requests)
        page.run("document.getElementById('auto').click()")
        page.run("update()")
        assert len(page.requests) == requests and page.run("document.body.className") == "good"
        page.run("document.getElementById('auto').click()")
        page.run("update()")
        assert page.run("document.body.className") == "bad"
        assert page.run("document.getElementById('verdict').innerText").startswith("Failing")
        assert page.run("document.getElementById('announcement').textContent") == "Failing"
        assert page.run("document.title").startswith("Failing")
        assert page.run("document.getElementById('stale').checkVisibility()") is False
    page.run("update()")
    assert page.run("document.getElementById('stale').checkVisibility()") is True


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_prints_dark_on_white(state, open_tab, scheme):
    _, exporter = state
    page = open_tab()
    page.open(exporter.url + "/", width=794, scheme=scheme, media="print")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert [one for one in page.run(CONTRASTS) if one["ratio"] < one["needed"]] == []
    assert page.run("document.querySelector('nav').checkVisibility()") is False
