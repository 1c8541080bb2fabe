"""Reads JSON lines of an environment and a URL, and says whether botocore asks there through a proxy."""

import json
import os
import sys

from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

for line in sys.stdin:
    case = json.loads(line)
    os.environ.clear()
    os.environ.update(case["environment"])
    configuration = ProxyConfiguration(proxies=get_environ_proxies(case["url"]))
    print(json.dumps(bool(configuration.proxy_url_for(case["url"]))), flush=True)
