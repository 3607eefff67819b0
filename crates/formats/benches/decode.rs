//! Records per second on one core: detection aside, framing and decoding of synthetic logs in each format.

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use seenby_formats::{
    Chunk, Detection, Framer, HEAD_BYTES, Opened, Passed, Refusal, Settings, Sink, Taught, Wanted, decode,
    detect,
};

/// Enough records that no cache of the machine holds the input.
const RECORDS: u64 = 50_000;

/// Touches what it is told, and nothing else.
#[derive(Default)]
struct Counter {
    opened: u64,
    others: u64,
    mixed: u64,
}

impl Sink for Counter {
    fn opened(&mut self, record: &Opened<'_>) {
        self.opened += 1;
        self.mixed ^= u64::from(record.second.unix()) ^ u64::from(record.remote.octets()[15]);
        self.mixed ^= record.device.iter().map(|mention| mention.written.len() as u64).sum::<u64>();
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.others += 1;
        self.mixed ^= record.reporter.map_or(0, |it| u64::from(it.second.unix()));
    }

    fn taught(&mut self, record: &Taught<'_>) {
        self.others += 1;
        self.mixed ^= record.line;
    }

    fn refused(&mut self, _refusal: Refusal, line: u64, _field: Option<&'static str>) {
        panic!("line {line} of a synthetic log is refused");
    }
}

/// Repeatable numbers that look random.
fn scrambled(n: u64) -> u64 {
    let mixed = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

fn mde() -> String {
    let mut log = String::new();
    for n in 0..RECORDS {
        let (r, second, device) = (scrambled(n), n % 60, scrambled(n % 1000));
        let (a, b, c) = (r % 200, r / 200 % 250, r / 50_000 % 250);
        let action = if r.is_multiple_of(10) { "ConnectionFailed" } else { "ConnectionSuccess" };
        let id = format!("{device:016x}{device:016x}{:08x}", device as u32);
        let _ = write!(
            log,
            r#"{{"time":"2031-03-04T10:07:{second:02}.1234567Z","tenantId":"00000000-0000-0000-0000-00000000000a","operationName":"Publish","category":"AdvancedHunting-DeviceNetworkEvents","properties":{{"Timestamp":"2031-03-04T10:01:{second:02}.345678Z","DeviceId":"{id}","DeviceName":"pc-{:05}.example.org","ActionType":"{action}","RemoteIP":"198.{a}.{b}.{c}","RemotePort":443,"RemoteUrl":null,"LocalIP":"10.1.2.3","LocalPort":{},"Protocol":"Tcp","LocalIPType":"Private","RemoteIPType":"Public","ReportId":{n},"AdditionalFields":null}}}}"#,
            device % 100_000,
            50_000 + r % 10_000,
        );
        log.push_str("\r\n");
    }
    log
}

fn zeek_tsv() -> String {
    let mut log = String::from(
        "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n",
    );
    log.push_str("#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\tresp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\tresp_pkts\tresp_ip_bytes\ttunnel_parents\n");
    for n in 0..RECORDS {
        let r = scrambled(n);
        let state = if r.is_multiple_of(10) { "S0" } else { "SF" };
        let _ = writeln!(
            log,
            "{}.{:06}\tC{:017x}\t10.1.{}.{}\t{}\t198.{}.{}.{}\t443\ttcp\tssl\t1.254321\t900\t4200\t{state}\tT\tF\t0\tShADadFf\t12\t1540\t10\t4720\t-",
            1_930_557_662 + n / 10,
            r % 1_000_000,
            r,
            r % 4,
            r / 4 % 250,
            50_000 + r % 10_000,
            r / 7 % 200,
            r / 11 % 250,
            r / 13 % 250,
        );
    }
    log
}

fn zeek_json() -> String {
    let mut log = String::new();
    for n in 0..RECORDS {
        let r = scrambled(n);
        let _ = writeln!(
            log,
            r#"{{"ts":{}.{:06},"uid":"C{r:017x}","id.orig_h":"10.1.2.{}","id.orig_p":50001,"id.resp_h":"198.51.{}.{}","id.resp_p":443,"proto":"tcp","service":"ssl","duration":1.25,"orig_bytes":900,"resp_bytes":4200,"conn_state":"SF","local_orig":true,"local_resp":false,"missed_bytes":0,"history":"ShADadFf","orig_pkts":12,"orig_ip_bytes":1540,"resp_pkts":10,"resp_ip_bytes":4720}}"#,
            1_930_557_662 + n / 10,
            100_000 + r % 900_000,
            r % 250,
            r / 11 % 250,
            r / 13 % 250,
        );
    }
    log
}

fn sysmon() -> String {
    let mut log = String::new();
    for n in 0..RECORDS {
        let r = scrambled(n);
        let _ = writeln!(
            log,
            r#"{{"@timestamp":"2031-03-04T10:01:03.000Z","winlog":{{"event_id":"3","provider_name":"Microsoft-Windows-Sysmon","channel":"Microsoft-Windows-Sysmon/Operational","computer_name":"PC-{:04}.example.org","event_data":{{"UtcTime":"2031-03-04 10:01:02.345","Image":"C:\\Program Files\\Example\\example.exe","Initiated":"true","Protocol":"tcp","SourceIp":"10.1.2.3","DestinationIp":"198.51.{}.{}","DestinationPort":"443"}}}}}}"#,
            r % 10_000,
            r / 11 % 250,
            r / 13 % 250,
        );
    }
    log
}

fn ndjson() -> String {
    let mut log = String::new();
    for n in 0..RECORDS {
        let r = scrambled(n);
        let (b, c) = (r / 11 % 250, r / 13 % 250);
        let _ = writeln!(
            log,
            r#"{{"time":"2031-03-04T10:01:02Z","device":"pc-{:04}","ip":"198.51.{b}.{c}"}}"#,
            r % 10_000
        );
    }
    log
}

fn csv() -> String {
    let mut log = String::from("time,device,ip\n");
    for n in 0..RECORDS {
        let r = scrambled(n);
        let _ = writeln!(
            log,
            "2031-03-04T10:01:02Z,pc-{:04},198.51.{}.{}",
            r % 10_000,
            r / 11 % 250,
            r / 13 % 250
        );
    }
    log
}

fn frame(log: &[u8], out: &mut impl FnMut(&Chunk)) {
    let settings = Settings::default();
    let head = log.get(..HEAD_BYTES).unwrap_or(log);
    let Detection::Known(opening) = detect(head, false, Wanted::Detect, &settings.columns) else {
        panic!("a synthetic log is not recognised");
    };
    let mut framer = Framer::new(opening, &settings.columns);
    let mut ready = Vec::new();
    for block in log.chunks(256 << 10) {
        framer.push(block, &mut |chunk| ready.push(chunk));
        for chunk in ready.drain(..) {
            out(&chunk);
            framer.recycle(chunk);
        }
    }
    framer.finish(&mut |chunk| out(&chunk));
}

fn decode_logs(criterion: &mut Criterion) {
    let settings = Settings::default();
    for (name, log) in [
        ("mde", mde()),
        ("zeek-tsv", zeek_tsv()),
        ("zeek-json", zeek_json()),
        ("sysmon", sysmon()),
        ("ndjson", ndjson()),
        ("csv", csv()),
    ] {
        let mut group =
            criterion.benchmark_group(format!("{name}, {} bytes a record", log.len() as u64 / RECORDS));
        group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
        group.bench_function(BenchmarkId::from_parameter("frame"), |bencher| {
            bencher.iter(|| frame(black_box(log.as_bytes()), &mut |chunk| _ = black_box(chunk)));
        });
        group.bench_function(BenchmarkId::from_parameter("frame-and-decode"), |bencher| {
            bencher.iter(|| {
                let mut counter = Counter::default();
                frame(black_box(log.as_bytes()), &mut |chunk| decode(chunk, &settings, &mut counter));
                assert!(counter.opened > RECORDS / 2 && counter.opened + counter.others >= RECORDS);
                black_box(counter.mixed)
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decode_logs);
criterion_main!(benches);
