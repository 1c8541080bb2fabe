"""The alternative as a script: boto3 resolves the credentials once a second, prometheus_client serves their expiry.

    exporter.py PORT
"""

import sys
import time

import botocore.session
from prometheus_client import Counter, Gauge, Histogram, start_http_server

up = Gauge("imds_up", "Whether credentials were resolved.")
expiry = Gauge("imds_credentials_expiration_timestamp_seconds", "Expiration of the credentials.")
failures = Counter("imds_fetch_failures", "Number of failed resolutions.")
duration = Histogram("imds_fetch_duration_seconds", "Duration of resolutions.")

start_http_server(int(sys.argv[1]), addr="127.0.0.1")
while True:
    with duration.time():
        credentials = botocore.session.Session().get_credentials()
    up.set(credentials is not None)
    if credentials is None:
        failures.inc()
    else:
        expiry.set(credentials._expiry_time.timestamp())
    time.sleep(1)
