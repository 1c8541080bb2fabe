"""An example workload: one boto3 client for the lifetime of the process, like most services."""

import logging
import os
import time

import boto3

logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
client = boto3.client("sts")

while True:
    try:
        logging.info("I am %s", client.get_caller_identity()["Arn"])
    except Exception as error:  # Like most services, it logs and continues: a stuck client stays stuck.
        logging.error("%s: %s", type(error).__name__, error)
    time.sleep(float(os.environ.get("WORKER_INTERVAL_SECONDS", "30")))
