"""Retries the call, each time with a new client: that recovers."""

from common import call, new_client, next_attempt, report

while next_attempt():
    report(call(new_client()))
