"""Shippers that push, as their packages come: rsyslog and syslog-ng to Elasticsearch's `_bulk`, syslog-ng to Splunk's HEC,
OpenTelemetry's exporter to OTLP. Each is pointed here by its own settings alone: an address and a source's token. What each sent is
asked for in the end. Nothing about peers that a server asks by itself.
"""

import time

from place import DEVICES, Place, client, libraries, multiarch, running, served

ADDRESSES = {"rsyslog": "203.0.113.1", "syslog-ng bulk": "203.0.113.2", "syslog-ng hec": "203.0.113.3", "otlp": "203.0.113.4"}


def test_rsyslog(program, folder, peers):
    root = peers.debian("rsyslog")
    place = Place(program, folder)
    place.token = place.run("source", "add", "shipper", "--format", "ndjson")["token"]
    with served(place):
        rsyslog(place, root)


def test_syslog_ng(program, folder, peers):
    root = peers.debian("syslog-ng")
    place = Place(program, folder)
    place.token = place.run("source", "add", "shipper", "--format", "ndjson")["token"]
    with served(place):
        syslog_ng(place, root)


def test_otlp(program, folder, _peers):
    client("opentelemetry.exporter.otlp.proto.http")
    place = Place(program, folder)
    place.token = place.run("source", "add", "otlp")["token"]
    with served(place):
        otlp(place)


def rsyslog(place, root):
    """omelasticsearch puts an empty line after each document."""
    log = place.lines("rsyslog.log", ADDRESSES["rsyslog"])
    modules = f"{root}/usr/lib/{multiarch()}/rsyslog"
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
        place.sees("rsyslog", ADDRESSES["rsyslog"])
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
        place.sees("syslog-ng bulk", ADDRESSES["syslog-ng bulk"])
        place.sees("syslog-ng hec", ADDRESSES["syslog-ng hec"])


def otlp(place):
    """The exporter of OpenTelemetry's SDK, with the attributes of the semantic conventions."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.resources import Resource

    for number in range(DEVICES):
        exporter = OTLPLogExporter(
            endpoint=f"{place.url}/v1/logs",
            headers={"Authorization": f"Bearer {place.token}"},
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
    place.sees("otlp", ADDRESSES["otlp"])


TESTS = (("rsyslog", test_rsyslog), ("syslog-ng", test_syslog_ng), ("OpenTelemetry's exporter", test_otlp))
