//! What shippers that cannot be installed here send, byte for byte as their documentation has it: Beats, Logstash, Vector and Fluent Bit,
//! each with what it asks before it sends, what it reads out of the answer, and the sighting that comes of it. Refuses to hold:
//! shippers that can be had (`tests/shippers`), and what else a protocol answers (the HTTP room's tests).

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::{Value, json};
use sighting::Second;

use crate::support::{Place, gzip, now};

/// Of whom a sighting comes.
const DEVICE: &str = "10.1.2.17";

/// A shipper, what it sends, and what it must find in the answers.
struct Case {
    name: &'static str,
    /// What it asks first: a request line without its version, the beginning of the status, something of the answer.
    probes: &'static [(&'static str, &'static str, &'static str)],
    /// Request line and headers, with BASIC, KEY and TOKEN for the token in the three ways of writing it.
    head: &'static str,
    is_gzip: bool,
    /// The body, of one connection at a second, to an address.
    body: fn(Second, &str) -> String,
    /// What the shipper looks for in the answer.
    answer: &'static str,
    devices: u64,
}

const BEATS: &[(&str, &str, &str)] = &[
    ("GET /", "200", "\"number\":\"8."),
    ("GET /_license?human=false", "200", "\"status\":\"active\""),
    ("GET /_ilm/policy/a-beat", "200", "{"),
    ("PUT /_ilm/policy/a-beat", "200", "\"acknowledged\":true"),
    ("GET /_index_template/a-beat-8.9.0", "200", "{"),
    ("PUT /_index_template/a-beat-8.9.0", "200", "\"acknowledged\":true"),
    ("PUT /_data_stream/a-beat-8.9.0", "200", "\"acknowledged\":true"),
    ("GET /_ingest/pipeline/a-beat-8.9.0-suricata-eve-pipeline", "200", "{"),
];

const LOGSTASH: &[(&str, &str, &str)] = &[
    ("HEAD /", "200", "x-elastic-product: Elasticsearch"),
    ("GET /", "200", "x-elastic-product: Elasticsearch"),
    ("GET /_license", "200", "\"status\":\"active\""),
    ("HEAD /_index_template/ecs-logstash", "200", "x-elastic-product: Elasticsearch"),
];

const VECTOR: &[(&str, &str, &str)] =
    &[("GET /", "200", "\"number\":\"8."), ("GET /_cluster/health", "200", "\"status\":\"green\"")];

const HEC_HEALTH: &[(&str, &str, &str)] = &[("GET /services/collector/health/1.0", "200", "\"code\":17")];

const BEATS_HEAD: &str = "POST /_bulk?filter_path=errors%2Citems.%2A.error%2Citems.%2A.status HTTP/1.1\r\n\
    User-Agent: Elastic-beat/8.9.0 (linux; amd64)\r\nAccept: application/json\r\nAuthorization: Basic BASIC\r\n\
    Content-Type: application/json; charset=UTF-8\r\nX-Elastic-Product-Origin: beats\r\n";

const CASES: &[Case] = &[
    Case {
        name: "Filebeat, Suricata",
        probes: BEATS,
        head: BEATS_HEAD,
        is_gzip: true,
        body: |second, remote| create("filebeat-8.9.0", &filebeat(second, remote)),
        answer: "\"errors\":false",
        devices: 1,
    },
    Case {
        name: "Filebeat, a file of Zeek's that it does not read",
        probes: BEATS,
        head: BEATS_HEAD,
        is_gzip: true,
        body: |second, remote| create("filebeat-8.9.0", &unread(second, &zeek(second, remote).to_string())),
        answer: "\"errors\":false",
        devices: 1,
    },
    Case {
        name: "Fluent Bit, es, lines of a FortiGate that it does not read",
        probes: &[],
        head: "POST /_bulk HTTP/1.1\r\nUser-Agent: Fluent-Bit\r\nContent-Type: application/x-ndjson\r\nAuthorization: Basic BASIC\r\n",
        is_gzip: false,
        body: |second, remote| {
            create(
                "fluent-bit",
                &json!({ "@timestamp": stamp(second.plus(2)), "log": fortigate(second, remote) }),
            )
        },
        answer: "\"errors\":false,\"items\":[",
        devices: 1,
    },
    Case {
        name: "Winlogbeat, Sysmon event 3",
        probes: BEATS,
        head: BEATS_HEAD,
        is_gzip: true,
        body: |second, remote| create("winlogbeat-8.9.0", &winlogbeat(second, remote)),
        answer: "\"errors\":false",
        devices: 1,
    },
    Case {
        name: "Packetbeat, a flow that is told of three times",
        probes: BEATS,
        head: BEATS_HEAD,
        is_gzip: false,
        body: |second, remote| {
            let told =
                |after, is_final| create("packetbeat-8.9.0", &packetbeat(second, after, is_final, remote));
            [told(10, false), told(20, false), told(27, true)].concat()
        },
        answer: "\"errors\":false,\"items\":[{\"create\":{\"status\":201}},",
        devices: 1,
    },
    Case {
        name: "Logstash, Elastic Defend by an agent",
        probes: LOGSTASH,
        head: "POST /_bulk?filter_path=errors,items.*.error,items.*.status HTTP/1.1\r\nConnection: Keep-Alive\r\n\
            User-Agent: Elastic/8.9.0 (Linux-x64) LogstashElasticsearchOutputPlugin\r\nX-Elastic-Product-Origin: logstash-output-elasticsearch\r\n\
            Content-Type: application/json\r\nAuthorization: Basic BASIC\r\n",
        is_gzip: true,
        body: |second, remote| {
            let action = json!({ "create": { "_index": "logs-generic-default", "routing": null } });
            lines(&[&action, &defend(second, remote)])
        },
        answer: "\"errors\":false",
        devices: 1,
    },
    Case {
        name: "Logstash 7, with an index and no id",
        probes: LOGSTASH,
        head: "POST /_bulk?filter_path=errors,items.*.error,items.*.status HTTP/1.1\r\nContent-Type: application/json\r\n\
            Authorization: ApiKey KEY\r\n",
        is_gzip: false,
        body: |second, remote| {
            let action =
                json!({ "index": { "_id": null, "_index": "logstash-2031.03.04", "routing": null } });
            lines(&[&action, &defend(second, remote)])
        },
        answer: "\"items\":[{\"index\":{\"status\":201}}]",
        devices: 1,
    },
    Case {
        name: "Fluent Bit, es, Zeek",
        probes: &[],
        head: "POST /_bulk HTTP/1.1\r\nUser-Agent: Fluent-Bit\r\nContent-Type: application/x-ndjson\r\nAuthorization: Basic BASIC\r\n",
        is_gzip: false,
        body: |second, remote| {
            let action = json!({ "create": { "_index": "fluent-bit", "_type": "_doc" } });
            // It puts its own time first.
            let record = zeek(second, remote).to_string();
            let stamped = record.replacen('{', &format!("{{\"@timestamp\":\"{}\",", stamp(second)), 1);
            format!("{action}\n{stamped}\n")
        },
        // It looks for these bytes, and else reads every item.
        answer: "\"errors\":false,\"items\":[",
        devices: 1,
    },
    Case {
        name: "Vector, elasticsearch, Suricata",
        probes: VECTOR,
        head: "POST /_bulk?timeout=60s HTTP/1.1\r\nuser-agent: Vector/0.40.0 (x86_64-unknown-linux-gnu)\r\n\
            content-type: application/x-ndjson\r\naccept: */*\r\nauthorization: Basic BASIC\r\n",
        is_gzip: true,
        body: |second, remote| {
            let action = json!({ "index": { "_index": "vector-2031.03.04", "_type": "_doc" } });
            let mut event = eve(second, remote);
            event["file"] = json!("/var/log/suricata/eve.json");
            event["source_type"] = json!("file");
            lines(&[&action, &event])
        },
        answer: "\"errors\":false",
        devices: 1,
    },
    Case {
        name: "Vector, splunk_hec_logs, JSON",
        probes: HEC_HEALTH,
        head: "POST /services/collector/event HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Splunk TOKEN\r\n\
            X-Splunk-Request-Channel: 5b9e4ca3-0a51-4c1e-9a7e-1f2c8f2f6b10\r\nUser-Agent: Vector/0.40.0 (x86_64-unknown-linux-gnu)\r\n",
        is_gzip: true,
        body: |second, remote| {
            // No separator between events.
            let event = |fields: Value| {
                json!({ "event": eve(second, remote), "fields": fields, "time": at(second), "host": "sensor-1",
                    "source": "/var/log/suricata/eve.json", "sourcetype": "suricata" })
                .to_string()
            };
            [event(json!({})), event(json!({ "site": "basel", "tier": ["edge", "lab"] }))].concat()
        },
        // It waits for what it asks about with this number.
        answer: "\"ackId\":0",
        devices: 1,
    },
    Case {
        name: "Vector, splunk_hec_logs, text",
        probes: HEC_HEALTH,
        head: "POST /services/collector/event HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Splunk TOKEN\r\n",
        is_gzip: false,
        body: |second, remote| {
            json!({ "event": zeek(second, remote).to_string(), "fields": {}, "time": at(second), "host": "forwarder-1" })
                .to_string()
        },
        answer: "\"code\":0",
        devices: 1,
    },
    Case {
        name: "Fluent Bit, splunk, two devices",
        probes: &[],
        head: "POST /services/collector/event HTTP/1.1\r\nUser-Agent: Fluent-Bit\r\nAuthorization: Splunk TOKEN\r\n\
            X-Splunk-Request-Channel: 0c6a5a57-7d0e-4a55-b8a5-6f0d8a0a1c11\r\n",
        is_gzip: true,
        body: |second, remote| {
            let event = |device: &str| {
                let mut record = zeek(second, remote);
                record["id.orig_h"] = json!(device);
                json!({ "time": at(second), "event": record }).to_string()
            };
            [event(DEVICE), event("10.1.2.18")].concat()
        },
        answer: "\"code\":0",
        devices: 2,
    },
];

/// `YYYY-MM-DDTHH:MM:SS.mmmZ`.
fn stamp(second: Second) -> String {
    second.to_string().replace('Z', ".345Z")
}

/// Seconds since 1970 as Splunk has them.
fn at(second: Second) -> f64 {
    f64::from(second.unix()) + 0.345
}

fn lines(values: &[&Value]) -> String {
    values.iter().map(|value| format!("{value}\n")).collect()
}

fn create(index: &str, document: &Value) -> String {
    lines(&[&json!({ "create": { "_index": index } }), document])
}

/// What every Beat puts beside an event.
fn of_beat(beat: &str, mut document: Value) -> Value {
    document["agent"] = json!({ "ephemeral_id": "5a1c", "id": "f3d1", "name": "shipper-1", "type": beat, "version": "8.9.0" });
    document["ecs"] = json!({ "version": "8.0.0" });
    document["host"] = json!({ "name": "shipper-1", "hostname": "shipper-1", "id": "77aa", "ip": ["192.0.2.9"], "mac": ["00-00-5E-00-53-09"] });
    document
}

fn eve(second: Second, remote: &str) -> Value {
    let (start, logged) = (stamp(second).replace("345Z", "345678+0000"), stamp(second.plus(60)));
    json!({ "timestamp": logged.replace("345Z", "000001+0000"), "flow_id": 1_182_734_u64, "event_type": "flow", "src_ip": DEVICE,
        "src_port": 50_001, "dest_ip": remote, "dest_port": 443, "proto": "TCP", "flow": { "pkts_toserver": 9, "pkts_toclient": 8,
        "start": start, "state": "closed", "reason": "timeout" }, "tcp": { "syn": true, "ack": true, "fin": true } })
}

fn zeek(second: Second, remote: &str) -> Value {
    json!({ "ts": f64::from(second.unix()) + 0.25, "uid": "CmES5u32sYpV7JYN", "id.orig_h": DEVICE, "id.orig_p": 50_001, "id.resp_h": remote,
        "id.resp_p": 443, "proto": "tcp", "duration": 1.5, "conn_state": "SF", "local_orig": true, "local_resp": false })
}

/// The module leaves the record to a pipeline, which there is none of here. Its time is when it was read.
fn filebeat(second: Second, remote: &str) -> Value {
    let raw = json!({ "@timestamp": stamp(second.plus(90)), "suricata": { "eve": eve(second, remote) }, "fileset": { "name": "eve" },
        "event": { "module": "suricata", "dataset": "suricata.eve" }, "service": { "type": "suricata" }, "input": { "type": "log" },
        "log": { "offset": 4_711, "file": { "path": "/var/log/suricata/eve.json" } }, "tags": ["suricata"] });
    of_beat("filebeat", raw)
}

/// What an input without a parser makes of a line.
fn unread(second: Second, line: &str) -> Value {
    let raw = json!({ "@timestamp": stamp(second.plus(90)), "message": line, "input": { "type": "filestream" },
        "log": { "offset": 4_711, "file": { "path": "/var/log/zeek/conn.log", "inode": "77" } } });
    of_beat("filebeat", raw)
}

fn fortigate(second: Second, remote: &str) -> String {
    format!(
        "date=2031-03-04 time=10:01:02 devname=\"fg-1\" devid=\"FG100D\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" \
         eventtime={}000000000 srcip={DEVICE} srcport=50001 dstip={remote} dstport=443 proto=6 action=\"close\"",
        second.unix()
    )
}

/// Collected from another machine: the host is the collector's.
fn winlogbeat(second: Second, remote: &str) -> Value {
    let written = second.to_string().replace('T', " ").replace('Z', ".345");
    let data = json!({ "RuleName": "-", "UtcTime": written, "ProcessGuid": "{1c2d-0}", "ProcessId": "4242", "Image": "C:\\Program Files\\a.exe",
        "User": "EXAMPLE\\ann", "Protocol": "tcp", "Initiated": "true", "SourceIsIpv6": "false", "SourceIp": "10.1.2.17",
        "SourceHostname": "PC-17", "SourcePort": "50001", "SourcePortName": "-", "DestinationIsIpv6": "false", "DestinationIp": remote,
        "DestinationHostname": "-", "DestinationPort": "443", "DestinationPortName": "https" });
    let raw = json!({ "@timestamp": stamp(second.plus(1)), "event": { "code": "3", "kind": "event", "provider": "Microsoft-Windows-Sysmon",
        "action": "Network connection detected (rule: NetworkConnect)", "created": stamp(second.plus(3)) }, "log": { "level": "information" },
        "message": "Network connection detected:\nRuleName: -", "winlog": { "channel": "Microsoft-Windows-Sysmon/Operational",
        "computer_name": "PC-17.example.org", "event_id": "3", "provider_name": "Microsoft-Windows-Sysmon", "record_id": 991_234,
        "task": "Network connection detected (rule: NetworkConnect)", "version": 5, "api": "wineventlog", "event_data": data } });
    of_beat("winlogbeat", raw)
}

/// A flow is told of every ten seconds, each time with its start.
fn packetbeat(second: Second, after: u64, is_final: bool, remote: &str) -> Value {
    let raw = json!({ "@timestamp": stamp(second.plus(after)), "type": "flow", "flow": { "id": "EQwA////DP//////FP8BAAE", "final": is_final },
        "event": { "start": stamp(second), "end": stamp(second.plus(after - 1)), "duration": 9_000_000_000_u64, "dataset": "flow",
        "kind": "event", "category": ["network"], "type": ["connection"], "action": "network_flow" },
        "source": { "ip": DEVICE, "port": 50_001, "packets": 9, "bytes": 900, "mac": "00-00-5E-00-53-01" },
        "destination": { "ip": remote, "port": 443, "packets": 8, "bytes": 4_200, "mac": "00-00-5E-00-53-02" },
        "network": { "type": "ipv4", "transport": "tcp", "community_id": "1:abc=", "bytes": 5_100, "packets": 17 } });
    of_beat("packetbeat", raw)
}

/// Elastic Defend's, by an Elastic Agent to Logstash.
fn defend(second: Second, remote: &str) -> Value {
    json!({ "@timestamp": stamp(second), "@version": "1", "tags": ["beats_input_raw_event"], "agent": { "id": "aa17", "type": "endpoint",
        "version": "8.9.0" }, "data_stream": { "type": "logs", "dataset": "endpoint.events.network", "namespace": "default" },
        "ecs": { "version": "1.11.0" }, "event": { "action": "connection_attempted", "category": ["network"], "type": ["start"],
        "kind": "event", "module": "endpoint", "dataset": "endpoint.events.network", "outcome": "unknown" },
        "host": { "id": "aa17", "hostname": "pc-17", "name": "pc-17", "ip": [DEVICE] }, "network": { "direction": "egress",
        "transport": "tcp", "type": "ipv4" }, "source": { "ip": DEVICE, "port": 50_001, "address": DEVICE },
        "destination": { "ip": remote, "port": 443, "address": remote }, "process": { "name": "a.exe", "pid": 4_242 } })
}

/// All of an answer to a request of these lines.
fn reply(host: &str, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(host).expect("it listens");
    let length = body.len();
    write!(stream, "{head}Host: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")
        .expect("it reads");
    stream.write_all(body).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("UTF-8");
    reply
}

/// As Basic has it, for any user: base64.
fn basic(token: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let said = format!("any:{token}");
    let of_three = |three: &[u8]| {
        let bits = three.iter().chain(&[0; 2]).take(3).fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let digit =
            |at: usize| if at <= three.len() { char::from(DIGITS[bits >> (18 - 6 * at) & 63]) } else { '=' };
        [0, 1, 2, 3].map(digit)
    };
    said.as_bytes().chunks(3).flat_map(of_three).collect()
}

fn authorized(head: &str, token: &str) -> String {
    head.replace("BASIC", &basic(token)).replace("KEY", token).replace("TOKEN", token)
}

#[track_caller]
fn check_probes(case: &Case, host: &str, token: &str) {
    for (asked, status, says) in case.probes {
        // Who checks health says no token.
        let authorization = if asked.contains("health/1.0") { "" } else { "Authorization: Basic BASIC\r\n" };
        let head =
            authorized(&format!("{asked} HTTP/1.1\r\nAccept: application/json\r\n{authorization}"), token);
        let answer = reply(host, &head, if asked.starts_with("PUT") { b"{}" } else { b"" });
        let is_so = answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(says);
        assert!(is_so, "{}, {asked}: {answer}", case.name);
    }
}

#[test]
fn what_is_sent_by_each_shipper_is_seen() {
    let place = Place::new();
    let added = place.run(["source", "add", "shippers", "--json"]).ends(0).json();
    let token = added["token"].as_str().expect("a token");
    let server = place.serve();
    let begun = now().minus(3_600);
    for (number, case) in CASES.iter().enumerate() {
        let (remote, second) = (format!("198.51.100.{}", number + 1), begun.plus(number as u64 * 60));
        check_probes(case, &server.host, token);
        let body = (case.body)(second, &remote).into_bytes();
        let mut head = authorized(case.head, token);
        let body = if case.is_gzip {
            head.push_str("Content-Encoding: gzip\r\n");
            gzip(&body)
        } else {
            body
        };
        let answer = reply(&server.host, &head, &body);
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(case.answer),
            "{}: {answer}",
            case.name
        );
        let seen = (case.devices, json!(second.to_string()), json!(second.to_string()));
        assert_eq!(place.stats(&remote), seen, "{}", case.name);
    }
    // What Vector asks about until it hears so.
    let head = "POST /services/collector/ack?channel=5b9e4ca3-0a51-4c1e-9a7e-1f2c8f2f6b10 HTTP/1.1\r\nAuthorization: Splunk TOKEN\r\n";
    let answer = reply(&server.host, &authorized(head, token), br#"{"acks":[0,1]}"#);
    assert!(answer.ends_with(r#"{"acks":{"0":true,"1":false}}"#), "{answer}");
    assert_eq!(server.stop(), 0);
}
