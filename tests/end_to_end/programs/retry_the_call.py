"""Creates a client once and retries the call only. A client that was created in an outage never recovers."""

from common import call, new_client, next_attempt, report

client = new_client()
while next_attempt():
    report(call(client))
