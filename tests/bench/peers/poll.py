"""Measures polls of botocore's own fetcher, as `poll-exporter` measures the exporter's.

    poll.py ENDPOINT POLLS
"""

import os
import sys
import time

endpoint, polls = sys.argv[1], int(sys.argv[2])
os.environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = endpoint

from botocore.utils import InstanceMetadataFetcher  # noqa: E402

fetcher = InstanceMetadataFetcher(timeout=1, num_attempts=1, base_url=endpoint)
for _ in range(5):
    fetcher.retrieve_iam_role_credentials()
began, cpu_began = time.perf_counter_ns(), time.process_time_ns()
for _ in range(polls):
    assert fetcher.retrieve_iam_role_credentials()["access_key"]
wall, cpu = time.perf_counter_ns() - began, time.process_time_ns() - cpu_began
print(wall // polls, cpu // polls)
