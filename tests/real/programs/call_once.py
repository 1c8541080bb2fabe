"""Creates a client and calls it once."""

from common import call, new_client, say

say(call(new_client()))
