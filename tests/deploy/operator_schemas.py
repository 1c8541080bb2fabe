"""Objects for the Prometheus operator, against the operator's own schemas."""

import json
import os
import pathlib

from helpers.commands import run
from helpers.paths import NODE


def operator_mistakes(documents):
    environment = {**os.environ, "NODE_PACKAGES": str(NODE)}
    program = pathlib.Path(__file__).with_name("operator_crds.mjs")
    return json.loads(run("node", program, input=json.dumps(documents), env=environment))
