"""Creates a client and calls it once."""

from common import call, new_client, report

report(call(new_client()))
