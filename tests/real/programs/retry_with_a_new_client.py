"""Retries the call, each time with a new client: that recovers."""

from common import call, new_client, next_try, say

while next_try():
    say(call(new_client()))
