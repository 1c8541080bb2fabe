"""HTTP requests to programs on loopback, without proxies, and the metrics that they serve."""

import urllib.error
import urllib.request

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(url, trust=None, **headers):
    """Status and body; (None, "") where nothing answers. Underscores in the headers' names stand for hyphens; `trust` is for TLS."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)) if trust else OPENER
    try:
        with opener.open(urllib.request.Request(url, headers=named), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return None, ""


def body(url):
    """The body of an answer with the status 200."""
    status, text = get(url)
    assert status == 200, f"{url}: {status} {text}"
    return text


def post(url, text):
    with OPENER.open(urllib.request.Request(url, data=text.encode(), method="POST"), timeout=10) as answer:
        return answer.read().decode()


def lines(exposition):
    """The samples of an exposition, as written."""
    return [line for line in exposition.splitlines() if line and not line.startswith("#")]


def samples(url):
    """What an exporter at this address serves: {series: value}; nothing while it does not answer."""
    pairs = (line.rsplit(" ", 1) for line in lines(get(f"{url}/metrics")[1]))
    return {series: float(value) for series, value in pairs}
