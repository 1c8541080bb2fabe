"""File systems of s3fs that a test controls: each line names how one is had, and is answered with "signed" or the error of
a call that needs a signature.

    new        S3FileSystem(...), which s3fs looks up among those that it has created
    uncached   a new one beside those
    cleared    a new one after s3fs has forgotten those
    connected  the one that "new" gives, after connect(refresh=True)
"""

import pathlib
import sys

# It needs another botocore than boto3 does.
sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "target/tools/aiobotocore"))

from s3fs import S3FileSystem  # noqa: E402

OPTIONS = {"client_kwargs": {"region_name": "eu-west-1"}, "config_kwargs": {"signature_version": "s3v4"}}


def file_system(how):
    if how == "uncached":
        return S3FileSystem(skip_instance_cache=True, **OPTIONS)
    if how == "cleared":
        S3FileSystem.clear_instance_cache()
    found = S3FileSystem(**OPTIONS)
    if how == "connected":
        found.connect(refresh=True)
    return found


for line in sys.stdin:
    try:
        assert "X-Amz-Signature=" in file_system(line.strip()).url("bucket/object", expires=60)
        print("signed", flush=True)
    except Exception as error:
        print(type(error).__name__, flush=True)
