"""Real shippers, as their packages come, send to a server: rsyslog and syslog-ng to Elasticsearch's `_bulk`, syslog-ng to Splunk's HEC,
OpenTelemetry's exporter to OTLP. Each is pointed here by its own settings alone: an address and a source's token. What each sent is
asked for in the end. Nothing here leaves this machine.
"""

import contextlib
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ADDRESSES = {"rsyslog": "203.0.113.1", "syslog-ng bulk": "203.0.113.2", "syslog-ng hec": "203.0.113.3", "otlp": "203.0.113.4"}
DEVICES = 500
PATIENCE_S = 60


class Place:
    """A data folder, and a server on it."""

    def __init__(self, program, folder):
        self.program = os.path.abspath(program)
        self.folder = pathlib.Path(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEENBY_")}
        self.environment = dict(kept, HOME=folder, SEENBY_DATA=str(self.folder / "data"))
        self.run("init")
        self.token = self.run("source", "add", "shipper", "--format", "ndjson")["token"]
        self.process = subprocess.Popen(
            [self.program, "serve", "--listen", "127.0.0.1:0", "--operator-listen", "none"],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=open(self.folder / "seenby.log", "ab"),
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.log()
        self.port = self.url.rsplit(":", 1)[1]

    def run(self, *arguments):
        done = subprocess.run(
            [self.program, *arguments, "--json"], env=self.environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode in (0, 1), (arguments, done.stdout, done.stderr)
        return json.loads(done.stdout)

    def log(self):
        return (self.folder / "seenby.log").read_text(encoding="utf-8")

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    def lines(self, name, address):
        """A log of as many devices, as JSON lines."""
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        rows = (json.dumps({"time": now, "device": f"pc-{number}", "ip": address}) + "\n" for number in range(DEVICES))
        return self.write(name, "".join(rows))

    def sees(self, who):
        """Waits until every device is in the answer; no more ever are."""
        address = ADDRESSES[who]
        until = time.monotonic() + PATIENCE_S
        while True:
            seen = self.run("stats", address)["organizationPrevalence"]
            assert seen <= DEVICES, (who, seen)
            if seen == DEVICES:
                print(f"ok  {who}: {seen} devices", flush=True)
                return
            assert time.monotonic() < until, f"{who}: {seen} of {DEVICES} devices came\n{self.log()[-3000:]}"
            time.sleep(0.2)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=30) == 0, self.log()


@contextlib.contextmanager
def running(place, name, command, environment):
    """A program beside us, and what it said where something fails."""
    said = place.folder / f"{name}.said"
    with open(said, "wb") as out:
        process = subprocess.Popen(command, env=dict(place.environment, **environment), stdout=out, stderr=subprocess.STDOUT)
        try:
            yield
        except BaseException:
            print(f"--- {name} said", said.read_text(encoding="utf-8", errors="replace")[-3000:], "---", sep="\n", flush=True)
            raise
        finally:
            process.terminate()
            process.wait(timeout=30)


def rsyslog(place, root):
    """omelasticsearch puts an empty line after each document."""
    log = place.lines("rsyslog.log", ADDRESSES["rsyslog"])
    modules = f"{root}/usr/lib/x86_64-linux-gnu/rsyslog"
    settings = place.write(
        "rsyslog.conf",
        f"""
global(workDirectory="{place.folder}")
module(load="{modules}/imfile.so")
module(load="{modules}/omelasticsearch.so")
template(name="document" type="string" string="%msg%")
input(type="imfile" file="{log}" tag="edge")
action(type="omelasticsearch" server="127.0.0.1" serverport="{place.port}" bulkmode="on" searchIndex="logs" searchType=""
  uid="any" pwd="{place.token}" template="document" errorFile="{place.folder}/rsyslog.errors")
""",
    )
    command = [f"{root}/usr/sbin/rsyslogd", "-n", "-f", settings, "-i", str(place.folder / "rsyslog.pid"), "-M", modules]
    with running(place, "rsyslog", command, libraries(root)):
        place.sees("rsyslog")
    errors = place.folder / "rsyslog.errors"
    assert not errors.exists() or not errors.read_text(encoding="utf-8"), "rsyslog was told of errors"


def syslog_ng(place, root):
    """http() in both of the protocols that it is used with."""
    bulk = place.lines("bulk.log", ADDRESSES["syslog-ng bulk"])
    hec = place.lines("hec.log", ADDRESSES["syslog-ng hec"])
    settings = place.write(
        "syslog-ng.conf",
        f"""@version: 3.38
source s_bulk {{ file("{bulk}" flags(no-parse) follow-freq(1)); }};
source s_hec {{ file("{hec}" flags(no-parse) follow-freq(1)); }};
destination d_bulk {{ http(
  url("http://127.0.0.1:{place.port}/_bulk") method("POST") user("any") password("{place.token}")
  headers("Content-Type: application/x-ndjson") batch-lines(100) batch-timeout(500)
  body("{{\\"index\\":{{\\"_index\\":\\"logs\\"}}}}\\n$MSG") delimiter("\\n") body-suffix("\\n")); }};
destination d_hec {{ http(
  url("http://127.0.0.1:{place.port}/services/collector/event") method("POST")
  headers("Authorization: Splunk {place.token}") batch-lines(100) batch-timeout(500)
  body('{{"event":$MSG}}')); }};
log {{ source(s_bulk); destination(d_bulk); }};
log {{ source(s_hec); destination(d_hec); }};
""",
    )
    command = [
        f"{root}/usr/sbin/syslog-ng", "--foreground", "--no-caps", "--cfgfile", settings,
        "--module-path", f"{root}/usr/lib/syslog-ng/3.38",
        "--persist-file", str(place.folder / "syslog-ng.persist"), "--control", str(place.folder / "syslog-ng.ctl"),
        "--pidfile", str(place.folder / "syslog-ng.pid"),
    ]
    with running(place, "syslog-ng", command, libraries(root)):
        place.sees("syslog-ng bulk")
        place.sees("syslog-ng hec")


def libraries(root):
    folders = ("usr/lib/x86_64-linux-gnu", "usr/lib/syslog-ng", "lib/x86_64-linux-gnu")
    return {"LD_LIBRARY_PATH": ":".join(f"{root}/{folder}" for folder in folders)}


def otlp(place):
    """The exporter of OpenTelemetry's SDK, with the attributes of the semantic conventions."""
    try:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.exporter.otlp.proto.http import Compression
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.sdk._logs import LoggerProvider
        from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
        from opentelemetry.sdk.resources import Resource
    except ImportError as error:
        print(f"SKIPPED: OpenTelemetry's exporter was not tested; {error}")
        return
    for number in range(DEVICES):
        exporter = OTLPLogExporter(
            endpoint=f"{place.url}/v1/logs",
            headers={"Authorization": f"Bearer {place.otlp_token}"},
            compression=Compression.Gzip if number % 2 else Compression.NoCompression,
        )
        provider = LoggerProvider(Resource({"host.name": f"pc-{number}"}))
        provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        now = time.time_ns()
        attributes = {"destination.address": ADDRESSES["otlp"], "network.transport": "tcp"}
        provider.get_logger("edge").emit(
            LogRecord(timestamp=now, observed_timestamp=now, severity_number=SeverityNumber.INFO, body="connect", attributes=attributes)
        )
        provider.shutdown()
    place.sees("otlp")


def main(program, root):
    with tempfile.TemporaryDirectory() as folder:
        place = Place(program, folder)
        try:
            place.otlp_token = place.run("source", "add", "otlp")["token"]
            if root == "none":
                print("SKIPPED: rsyslog and syslog-ng were not tested; their packages could not be had", flush=True)
            else:
                rsyslog(place, root)
                syslog_ng(place, root)
            otlp(place)
        except BaseException:
            print("--- the end of the server's log", *place.log().splitlines()[-8:], "---", sep="\n", flush=True)
            raise
        finally:
            place.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
