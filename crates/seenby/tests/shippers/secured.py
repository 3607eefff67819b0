"""Brokers that ask who reads, and that speak TLS: NATS with a certificate, a user, a token; Kafka's protocol behind a front that has a
certificate and asks for SASL PLAIN, as no broker that can be had here does it by itself. Who proves nothing, or trusts another authority,
reads nothing and hears why; once that is mended every record comes. Nothing about kills.
"""

import asyncio
import contextlib
import ssl
import subprocess
import time

from brokers import KAFKA_SOURCE, by_jetstream, by_librdkafka, front_of, kafka_broker, make_topic, nats_place, with_stream
from place import DEVICES, PATIENCE_S, OutOfReach, Place, free_port, served

ADDRESSES = {"tls": "203.0.113.31", "user": "203.0.113.32", "token": "203.0.113.33", "kafka tls": "203.0.113.34", "sasl": "203.0.113.35"}
SERVER = "basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n"
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


class Authority:
    """One that vouches for this machine, made by openssl."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.certificate = folder / "ca.pem"
        self.server, self.key = folder / "server.pem", folder / "server.key"
        of_ca = ("-addext", "keyUsage=critical,keyCertSign")
        self.openssl("req", "-x509", *NEW_KEY, "-days", "2", "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem", *of_ca)
        self.openssl("req", *NEW_KEY, "-subj", "/CN=peer", "-keyout", "server.key", "-out", "server.csr")
        (folder / "server.extensions").write_text(SERVER, encoding="ascii")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "server.extensions")
        self.openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem")

    def openssl(self, *arguments):
        try:
            subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)
        except FileNotFoundError as error:
            raise OutOfReach("openssl is not installed") from error


def secret(place, **values):
    """The credentials of the source, which only we may read."""
    path = place.folder / "credentials"
    path.write_text("".join(f'{key} = "{value}"\n' for key, value in values.items()), encoding="utf-8")
    path.chmod(0o600)


def says(place, what, since=0):
    """Waits until the log does, behind a place in it."""
    until = time.monotonic() + PATIENCE_S
    while what not in place.log()[since:]:
        assert time.monotonic() < until, f"the log does not say '{what}'\n{place.log()[since:][-3000:]}"
        time.sleep(0.1)


def nothing_comes(place, who, address):
    """While the source is in trouble, and says so."""
    says(place, "cannot be read")
    seen = place.run("stats", address)["organizationPrevalence"]
    assert not seen, f"{who}: {seen} devices came"
    print(f"ok  {who}: nothing comes, and the log says why", flush=True)


def test_nats_tls(program, folder, peers):
    right, other = Authority(folder / "right"), Authority(folder / "other")
    trusted = folder / "trusted.pem"
    trusted.write_bytes(other.certificate.read_bytes())
    server = f'tls {{ cert_file: "{right.server}"\n key_file: "{right.key}" }}\n'
    context = ssl.create_default_context(cafile=right.certificate)
    address, source = ADDRESSES["tls"], f'ca_file = "{trusted}"\n'
    with nats_place(program, folder / "place", peers, server, source, "tls", tls=context) as (place, _, port):
        by_jetstream(port, address, scheme="tls", tls=context)(range(DEVICES))
        with served(place):
            nothing_comes(place, "nats, a certificate that another authority signed", address)
            trusted.write_bytes(right.certificate.read_bytes())
            place.sees("nats over tls", address)


def test_nats_user(program, folder, peers):
    nats_with_secrets(program, folder, peers, "user", "user: seenby, password: quite-secret", {"username": "seenby", "password": "quite-secret"})


def test_nats_token(program, folder, peers):
    nats_with_secrets(program, folder, peers, "token", "token: quite-secret", {"token": "quite-secret"})


def nats_with_secrets(program, folder, peers, how, authorization, right):
    server = f"authorization {{ {authorization} }}\n"
    source = f'credentials = "{folder}/place/credentials"\n'
    known = {"user" if key == "username" else key: value for key, value in right.items()}
    address = ADDRESSES[how]
    with nats_place(program, folder / "place", peers, server, source, **known) as (place, _, port):
        by_jetstream(port, address, **known)(range(DEVICES))
        secret(place, **{key: "wrong" for key in right})
        with served(place):
            nothing_comes(place, f"nats, a wrong {how}", address)
            secret(place, **right)
            place.sees(f"nats with a {how}", address)


@contextlib.contextmanager
def kafka_behind(program, folder, peers, source, *front):
    """A broker, and a front before it that the source is pointed at; who sends goes past that."""
    behind, port = free_port(), free_port()
    place = Place(program, folder / "place", KAFKA_SOURCE.format(port=port) + source)
    with kafka_broker(place, peers, behind), front_of(place, port, behind, "--kafka", *front):
        make_topic(behind)
        yield place, behind


def test_kafka_tls(program, folder, peers):
    right, other = Authority(folder / "right"), Authority(folder / "other")
    trusted = folder / "trusted.pem"
    trusted.write_bytes(other.certificate.read_bytes())
    front = ("--certificate", str(right.server), "--key", str(right.key))
    address = ADDRESSES["kafka tls"]
    with kafka_behind(program, folder, peers, f'tls = true\nca_file = "{trusted}"\n', *front) as (place, behind):
        by_librdkafka(behind, address)(range(DEVICES))
        with served(place):
            nothing_comes(place, "kafka, a certificate that another authority signed", address)
        trusted.write_bytes(right.certificate.read_bytes())
        with served(place):
            place.sees("kafka over tls", address)


def test_kafka_sasl(program, folder, peers):
    """Over TLS, as Event Hubs has it."""
    right = Authority(folder / "right")
    front = ("--certificate", str(right.server), "--key", str(right.key), "--user", "$ConnectionString", "--password", "Endpoint=sb://x/;Key=y=")
    source = f'tls = true\nca_file = "{right.certificate}"\ncredentials = "{folder}/place/credentials"\n'
    address = ADDRESSES["sasl"]
    with kafka_behind(program, folder, peers, source, *front) as (place, behind):
        by_librdkafka(behind, address)(range(DEVICES))
        secret(place, username="$ConnectionString", password="wrong")
        with served(place):
            nothing_comes(place, "kafka, a wrong password", address)
        secret(place, username="$ConnectionString", password="Endpoint=sb://x/;Key=y=")
        with served(place):
            place.sees("kafka with SASL PLAIN, which a front before the broker asks for", address)


TESTS = (
    ("nats over tls", test_nats_tls),
    ("nats with a user", test_nats_user),
    ("nats with a token", test_nats_token),
    ("kafka over tls", test_kafka_tls),
    ("kafka with sasl", test_kafka_sasl),
)
