"""Clients of one SDK that a test controls: the AWS CRT or the Rust crate object_store (`python_sdks.py aws-crt|object-store`).

Reads one JSON command per line and answers each with one line; go/main.go lists the commands. No client shares anything with another, so that
the session of a command has no meaning here. All clocks of this process
are libfaketime's, which reads how far they are ahead from FAKETIME_TIMESTAMP_FILE.
"""

import datetime
import importlib.metadata
import json
import os
import re
import sys
import urllib.parse


class AwsCrt:
    package = "awscrt"

    def __init__(self):
        from awscrt import auth, http, io

        self.auth, self.http, self.io = auth, http, io

    def create(self):
        return self.auth.AwsCredentialsProvider.new_default_chain()

    def sign(self, provider):
        request = self.http.HttpRequest("GET", "/", self.http.HttpHeaders([("Host", "sts.eu-west-1.amazonaws.com")]))
        config = self.auth.AwsSigningConfig(
            algorithm=self.auth.AwsSigningAlgorithm.V4,
            signature_type=self.auth.AwsSignatureType.HTTP_REQUEST_HEADERS,
            credentials_provider=provider,
            region="eu-west-1",
            service="sts",
        )
        signed = self.auth.aws_sign_request(request, config).result(60)
        return re.search(r"Credential=([^/]+)/.*Signature=[0-9a-f]+", signed.headers.get("Authorization"))[1]


class ObjectStore:
    package = "obstore"

    def __init__(self):
        import obstore
        from obstore.store import S3Store

        self.obstore, self.store = obstore, S3Store

    def create(self):
        # By default it asks again and again for three minutes before it fails as it does here.
        options = {"retry_config": {"max_retries": 0}, "client_options": {"timeout": "1s"}}
        return self.store("bucket", region="eu-west-1", **options)

    def sign(self, store):
        url = self.obstore.sign(store, "GET", "object", datetime.timedelta(minutes=1))
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(url).query)
        assert query["X-Amz-Signature"], query
        return query["X-Amz-Credential"][0].split("/")[0]


sdk = {"aws-crt": AwsCrt, "object-store": ObjectStore}[sys.argv[1]]()
clients = {}
ahead = 0


def create(client, session):
    try:
        clients[client] = sdk.create()
    except Exception as error:
        return {"raised": f"{type(error).__name__}: {error}"}
    return {"created": True}


def sign(client):
    try:
        return {"key": sdk.sign(clients[client])}
    except BaseException as error:  # A panic in Rust is no Exception.
        return {"error": f"{type(error).__name__}: {error}"}


def advance(seconds):
    global ahead
    ahead += seconds
    file = os.environ["FAKETIME_TIMESTAMP_FILE"]
    with open(file + ".new", "w") as new:
        new.write(f"+{ahead}\n")
    os.replace(file + ".new", file)
    return {}


def version():
    return {"version": importlib.metadata.version(sdk.package)}


for line in sys.stdin:
    command = json.loads(line)
    action = {"create": create, "sign": sign, "advance": advance, "version": version}[command.pop("do")]
    print(json.dumps(action(**command)), flush=True)
