//! A folder that a server follows: what is written to it is in the answers after a moment, whatever is done to the files, and is
//! there once. What is waited for has a deadline; nothing is waited for by a fixed time. Answers are compared with a model's.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode};
use sighting::Second;

use crate::feeds::vpc_parquet;
use crate::flows::{netflow5, netflow9};
use crate::killed::{Model, Random, Run};
use crate::support::{Place, Server, ZEEK_HEADER, csv, gzip, now, until, zeek};

/// A folder that is followed.
struct Followed {
    place: Place,
    logs: PathBuf,
    settings: PathBuf,
    log: PathBuf,
}

impl Followed {
    /// The source `own`, with more settings of it.
    fn new(more: &str) -> Followed {
        let place = Place::new();
        let logs = place.root.path().join("logs");
        fs::create_dir(&logs).expect("a folder");
        let settings = place.write(
            "seenby.toml",
            format!("[[sources]]\nname = 'own'\nfolder = '{}'\n{more}\n", logs.display()),
        );
        let log = place.root.path().join("server.log");
        Followed { place, logs, settings, log }
    }

    fn serve(&self) -> Server {
        let mut command =
            self.place.command(["serve", "--listen", "127.0.0.1:0", "--operator-listen", "127.0.0.1:0"]);
        Server::start_logged(command.arg("--settings").arg(&self.settings), &self.log)
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.logs.join(name);
        fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        path
    }

    fn append(&self, name: &str, text: impl AsRef<[u8]>) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).expect("a file");
        file.write_all(text.as_ref()).expect("written");
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).expect("renamed");
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).expect("text")
    }

    /// Devices of an address.
    fn devices(&self, address: &str) -> u64 {
        let body = self.place.run(["stats", "--json", address]).json();
        body["organizationPrevalence"].as_u64().unwrap_or_default()
    }

    #[track_caller]
    fn comes(&self, address: &str, devices: u64) {
        until(&format!("{devices} devices of {address}"), || self.devices(address) == devices);
    }
}

/// Records that the server took into its store since it started, repeats included.
fn taken(server: &Server) -> u64 {
    let metrics = server.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("seenby_store_sightings_taken_total "));
    line.expect("a figure").trim().parse().expect("a number")
}

const HEADER: &str = "time,device,ip\n";

fn record(device: &str, address: &str) -> String {
    format!("{{\"time\":\"{}\",\"device\":\"{device}\",\"ip\":\"{address}\"}}", now())
}

#[test]
fn lines_are_seen_as_they_are_appended() {
    for more in ["", "poll = 1"] {
        let followed = Followed::new(more);
        followed.append("a.csv", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.1")));
        let server = followed.serve();
        followed.comes("198.51.100.1", 1);
        // A line whose end has not come is waited for: what is there of it would read as another address.
        let row = csv(now(), "pc-2", "198.51.100.123");
        let (start, end) = row.split_at(row.len() - 3);
        followed.append("a.csv", start);
        followed.append("sub/folder/b.csv", format!("{HEADER}{}", csv(now(), "pc-3", "198.51.100.3")));
        followed.comes("198.51.100.3", 1);
        assert_eq!(followed.devices("198.51.100.1"), 1);
        followed.append("a.csv", end);
        followed.comes("198.51.100.123", 1);
        assert_eq!(server.stop(), 0, "{more}");
        // While nobody looked.
        followed.append("a.csv", csv(now(), "pc-4", "198.51.100.4"));
        let server = followed.serve();
        followed.comes("198.51.100.4", 1);
        assert_eq!(taken(&server), 1, "nothing is read twice");
        assert_eq!(server.stop(), 0);
        assert!(!followed.said().contains("ERROR"), "{}", followed.said());
    }
}

#[test]
fn rotation_by_rename_and_by_copy() {
    let followed = Followed::new("");
    let row = |device: &str, address: &str| csv(now(), device, address);
    followed.append("a.csv", format!("{HEADER}{}", row("pc-1", "198.51.100.1")));
    let server = followed.serve();
    followed.comes("198.51.100.1", 1);
    // Whoever writes goes on writing for a while after the rename.
    let mut writer = OpenOptions::new().append(true).open(followed.path("a.csv")).expect("a file");
    followed.rename("a.csv", "a.csv.1");
    writer.write_all(row("pc-2", "198.51.100.2").as_bytes()).expect("written");
    followed.append("a.csv", format!("{HEADER}{}", row("pc-3", "198.51.100.3")));
    followed.comes("198.51.100.2", 1);
    followed.comes("198.51.100.3", 1);
    // A copy, then an empty file: logrotate's copytruncate.
    fs::copy(followed.path("a.csv"), followed.path("a.csv.2")).expect("copied");
    File::create(followed.path("a.csv")).expect("truncated");
    followed.append("a.csv", format!("{HEADER}{}", row("pc-4", "198.51.100.4")));
    followed.comes("198.51.100.4", 1);
    // Written anew, and longer than before, before anybody could see that it was shorter.
    let longer: String = (0..200).map(|n| row(&format!("pc-{n}"), "198.51.100.5")).collect();
    fs::write(followed.path("a.csv"), format!("{HEADER}{longer}")).expect("written");
    followed.comes("198.51.100.5", 200);
    // Out of the folder, and written on.
    fs::rename(followed.path("a.csv.1"), followed.place.root.path().join("away.csv")).expect("renamed");
    writer.write_all(row("pc-6", "198.51.100.6").as_bytes()).expect("written");
    followed.comes("198.51.100.6", 1);
    assert_eq!(server.stop(), 0);
}

/// Who does not append goes on where it was after a truncation, behind a hole: the first record behind it is whole.
#[test]
fn a_hole_after_a_truncation() {
    let followed = Followed::new("");
    let mut writer = File::create(followed.path("a.json")).expect("a file");
    for number in 0..50 {
        writeln!(writer, "{}", record(&format!("pc-{number}"), "198.51.100.1")).expect("written");
    }
    let server = followed.serve();
    followed.comes("198.51.100.1", 50);
    OpenOptions::new().write(true).truncate(true).open(followed.path("a.json")).expect("truncated");
    writeln!(writer, "{}", record("pc-50", "198.51.100.2")).expect("written");
    followed.comes("198.51.100.2", 1);
    writeln!(writer, "{}", record("pc-51", "198.51.100.2")).expect("written");
    followed.comes("198.51.100.2", 2);
    assert_eq!(server.stop(), 0);
    assert!(followed.said().contains("refused=0"), "{}", followed.said());
    let server = followed.serve();
    writeln!(writer, "{}", record("pc-52", "198.51.100.2")).expect("written");
    followed.comes("198.51.100.2", 3);
    assert_eq!(taken(&server), 1);
    assert_eq!(server.stop(), 0);
}

#[test]
fn compressed_files_are_read_once() {
    let followed = Followed::new("exclude = ['*.tmp']");
    let rows = |from: u64, to: u64| -> String {
        (from..to).map(|n| csv(now().minus(n), &format!("pc-{n}"), "198.51.100.1")).collect()
    };
    let text = format!("{HEADER}{}", rows(0, 1_000));
    fs::write(followed.path("a.csv.gz"), gzip(text.as_bytes())).expect("written");
    fs::write(
        followed.path("b.csv.zst"),
        zstd::encode_all(rows(1_000, 1_100).replacen("", HEADER, 1).as_bytes(), 1).expect("memory"),
    )
    .expect("written");
    followed.append("live.csv", format!("{HEADER}{}", rows(2_000, 2_500)));
    let server = followed.serve();
    followed.comes("198.51.100.1", 1_600);
    assert_eq!(taken(&server), 1_600);
    // A copy of what was read, compressed, with some lines more.
    let copy =
        [fs::read(followed.path("live.csv")).expect("a file"), rows(3_000, 3_007).into_bytes()].concat();
    fs::write(followed.path("live.csv.1.tmp"), gzip(&copy)).expect("written");
    followed.rename("live.csv.1.tmp", "live.csv.1.gz");
    fs::remove_file(followed.path("live.csv")).expect("removed");
    followed.comes("198.51.100.1", 1_607);
    assert_eq!(taken(&server), 1_607, "what was read as a file is not read again");
    assert_eq!(server.stop(), 0);
    let server = followed.serve();
    followed.append("new.csv", format!("{HEADER}{}", csv(now(), "pc-9", "198.51.100.9")));
    followed.comes("198.51.100.9", 1);
    assert_eq!(taken(&server), 1, "they are known after a restart");
    assert_eq!(server.stop(), 0);
}

#[test]
fn documents_and_lines_without_an_end() {
    let followed = Followed::new("");
    // Written in place, as Azure writes flow logs: the end is overwritten by more.
    let document = |devices: u64| {
        let records: Vec<String> = (0..devices).map(|n| record(&format!("pc-{n}"), "198.51.100.1")).collect();
        format!("{{\"records\":[\n{}\n]}}", records.join(",\n"))
    };
    fs::write(followed.path("PT1H.json"), document(3)).expect("written");
    followed.append("one.json", record("pc-1", "198.51.100.2"));
    let server = followed.serve();
    followed.comes("198.51.100.1", 3);
    followed.comes("198.51.100.2", 1);
    let longer = document(5);
    let mut file = OpenOptions::new().write(true).open(followed.path("PT1H.json")).expect("a file");
    file.write_all(longer.as_bytes()).expect("written");
    followed.comes("198.51.100.1", 5);
    followed.append("one.json", format!("\n{}\n", record("pc-2", "198.51.100.2")));
    followed.comes("198.51.100.2", 2);
    assert_eq!(server.stop(), 0);
    fs::write(followed.path("PT1H.json"), document(6)).expect("written");
    let server = followed.serve();
    followed.comes("198.51.100.1", 6);
    assert_eq!(server.stop(), 0);
}

#[test]
fn nothing_leads_out_of_the_folder_and_no_pipe_is_opened() {
    let followed = Followed::new("");
    let secret = format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.66"));
    let outside = followed.place.write("outside/secret.csv", secret);
    std::os::unix::fs::symlink(&outside, followed.path("leads-out.csv")).expect("a link");
    std::os::unix::fs::symlink(outside.parent().expect("a folder"), followed.path("folder-out"))
        .expect("a link");
    let pipe = followed.path("pipe.csv");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
    followed.append("a.csv", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.1")));
    let server = followed.serve();
    followed.comes("198.51.100.1", 1);
    // Nobody reads the pipe: to write to it without waiting is refused.
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::NONBLOCK;
    assert!(rustix::fs::open(&pipe, flags, Mode::empty()).is_err(), "somebody opened the pipe");
    assert_eq!(followed.devices("198.51.100.66"), 0);
    let said = followed.said();
    for part in [
        "leads-out.csv",
        "folder-out",
        "it is a link that leads out of the folder",
        "pipe.csv",
        "it is a pipe",
    ] {
        assert!(said.contains(part), "{said} lacks {part}");
    }
    assert_eq!(server.stop(), 0);
}

#[test]
fn one_file_that_is_followed_by_name() {
    let followed = Followed::new("");
    let path = followed.path("eve.csv");
    let settings = format!("[[sources]]\nname = 'own'\nfile = '{}'\n", path.display());
    let followed = Followed { settings: followed.place.write("file.toml", settings), ..followed };
    followed.append("eve.csv", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.1")));
    followed.append("eve.csv.older", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.66")));
    followed.append("other.csv", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.66")));
    let server = followed.serve();
    followed.comes("198.51.100.1", 1);
    assert_eq!(server.stop(), 0);
    // Written on, and rotated while nobody looked.
    followed.append("eve.csv", csv(now(), "pc-2", "198.51.100.2"));
    followed.rename("eve.csv", "eve.csv.1");
    followed.append("eve.csv", format!("{HEADER}{}", csv(now(), "pc-3", "198.51.100.3")));
    let server = followed.serve();
    followed.comes("198.51.100.2", 1);
    followed.comes("198.51.100.3", 1);
    assert_eq!(followed.devices("198.51.100.66"), 0, "what was never followed is not read");
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_file_that_is_refused_is_left_where_it_is_and_stops_nobody() {
    let followed = Followed::new("format = 'csv'\ncolumns = { device = 'host' }");
    let rows: String = (0..200).map(|n| csv(now(), &format!("pc-{n}"), "198.51.100.1")).collect();
    followed.append("bad.csv", format!("{HEADER}{rows}"));
    followed.append("good.csv", format!("time,host,ip\n{}", csv(now(), "pc-1", "198.51.100.2")));
    let server = followed.serve();
    followed.comes("198.51.100.2", 1);
    until("a word of it", || followed.said().contains("too many records of a file are refused"));
    assert!(followed.said().contains("bad.csv"), "{}", followed.said());
    followed.append("bad.csv", csv(now(), "pc-200", "198.51.100.1"));
    followed.append("good.csv", csv(now(), "pc-2", "198.51.100.2"));
    followed.comes("198.51.100.2", 2);
    assert_eq!(server.stop(), 0);
    assert!(followed.said().contains("paused=1"), "{}", followed.said());
    // The settings are mended: it is read from where it was left.
    let settings = fs::read_to_string(&followed.settings).expect("text");
    fs::write(&followed.settings, settings.replace("device = 'host'", "device = 'device'")).expect("written");
    let server = followed.serve();
    followed.comes("198.51.100.1", 201);
    assert_eq!(followed.devices("198.51.100.2"), 2);
    assert_eq!(server.stop(), 0);
}

/// A file that was left where it is counts as another one once it was truncated, also where it has grown past its place again.
#[test]
fn a_file_that_was_refused_and_is_written_anew_is_read() {
    let followed = Followed::new("format = 'csv'");
    let rows: String = (0..200).map(|n| format!("nonsense,pc-{n},198.51.100.1\n")).collect();
    followed.append("a.csv", format!("{HEADER}{rows}"));
    let server = followed.serve();
    until("a word of it", || followed.said().contains("too many records of a file are refused"));
    let rows: String = (0..300).map(|n| csv(now(), &format!("pc-{n}"), "198.51.100.2")).collect();
    File::create(followed.path("a.csv")).expect("truncated");
    followed.append("a.csv", format!("{HEADER}{rows}"));
    followed.comes("198.51.100.2", 300);
    assert_eq!(server.stop(), 0);
}

/// What begins with a byte of zero is a flow export or has a hole; what ends like Parquet is read from its end.
#[test]
fn flow_exports_and_parquet() {
    let followed = Followed::new("");
    followed.append("a.nf", netflow5(0, &[1, 2, 3], [198, 51, 100, 1]));
    followed.append("a.nf", netflow9(&[4, 5], [198, 51, 100, 1]));
    followed.append("b.parquet", vpc_parquet(now().unix()));
    let server = followed.serve();
    // The last datagram of NetFlow 9 does not say how long it is.
    followed.comes("198.51.100.1", 5);
    followed.append("a.nf", netflow9(&[6], [198, 51, 100, 1]));
    followed.comes("198.51.100.1", 6);
    followed.comes("198.51.100.20", 1);
    assert!(!followed.said().contains("ERROR"), "{}", followed.said());
    assert_eq!(server.stop(), 0);
}

/// More files than are open at once, each of more than one turn.
#[test]
fn many_files() {
    let followed = Followed::new("");
    for file in 0..600 {
        let rows: String = (0..20).map(|n| csv(now(), &format!("pc-{file}-{n}"), "198.51.100.1")).collect();
        followed.append(&format!("{file}.csv"), format!("{HEADER}{rows}"));
    }
    let server = followed.serve();
    followed.comes("198.51.100.1", 600 * 20);
    let open = fs::read_dir(format!("/proc/{}/fd", server.process())).expect("Linux").count();
    assert!(open < 400, "{open} descriptors");
    assert_eq!(server.stop(), 0);
}

/// Nothing of an organisation that was removed comes back by a batch that was under way, or after it.
#[test]
fn an_organisation_that_is_removed_while_its_files_are_read() {
    let followed = Followed::new("organisation = 'Contoso'");
    followed.place.run(["init", "--organisation-name", "Fabrikam"]).ends(0);
    followed.place.run(["org", "add", "Contoso"]).ends(0);
    let rows: String = (0..200_000).map(|n| csv(now(), &format!("pc-{}", n % 999), "198.51.100.1")).collect();
    followed.append("a.csv", format!("{HEADER}{rows}"));
    let server = followed.serve();
    until("some of it", || server.metrics().contains("seenby_store_sightings_taken_total"));
    followed.place.run(["org", "remove", "Contoso", "--yes"]).ends(0);
    // Where all of it had been read by then, something new makes it look.
    until("a word", || {
        followed.append("a.csv", csv(now(), "pc-1", "198.51.100.1"));
        followed.said().contains("there is no organisation 'Contoso'")
    });
    assert_eq!(server.stop(), 0);
    let names = fs::read_dir(followed.place.data.join("names")).expect("a folder");
    let kept: Vec<String> =
        names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    assert!(kept.len() <= 1, "{kept:?}");
}

#[test]
fn a_source_in_trouble_says_so_and_goes_on() {
    let followed = Followed::new("organisation = 'Contoso'");
    fs::remove_dir(&followed.logs).expect("removed");
    followed.place.run(["init", "--organisation-name", "Fabrikam"]).ends(0);
    let server = followed.serve();
    until("a word", || followed.said().contains("cannot be read"));
    followed.append("a.csv", format!("{HEADER}{}", csv(now(), "pc-1", "198.51.100.1")));
    until("a word", || followed.said().contains("there is no organisation 'Contoso'"));
    followed.place.run(["org", "add", "Contoso"]).ends(0);
    let ask = || {
        let run = followed.place.run(["stats", "--json", "198.51.100.1", "--organisation", "Contoso"]);
        run.json()["organizationPrevalence"].as_u64().unwrap_or_default()
    };
    until("its record", || ask() == 1);
    assert!(followed.said().contains("the source goes on"), "{}", followed.said());
    assert_eq!(server.stop(), 0);
}

/// Whoever writes logs and does to them what is done to logs, by a seed.
struct Writer<'a> {
    followed: &'a Followed,
    random: Random,
    model: Model,
    written: u64,
    rotated: u64,
}

impl Writer<'_> {
    fn new(followed: &Followed, seed: u64) -> Writer<'_> {
        Writer { followed, random: Random(seed), model: Model::default(), written: 0, rotated: 0 }
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random.below(end)
    }

    /// Some records, in the form of a file.
    fn rows(&mut self, count: u64, form: fn(Second, &str, &str) -> String) -> String {
        let mut text = String::new();
        for _ in 0..count {
            self.written += 1;
            let address = format!("198.51.100.{}", self.below(250));
            let device =
                format!("10.{}.{}.{}", self.written >> 16, (self.written >> 8) & 255, self.written & 255);
            let second = now().minus(60 + self.below(86_400));
            text.push_str(&form(second, &device, &address));
            self.model.tell(address, device, second);
        }
        text
    }

    /// Does one thing.
    fn act(&mut self) {
        let (name, header, form): (_, _, fn(Second, &str, &str) -> String) = match self.below(3) {
            0 => ("a.csv", HEADER, csv),
            1 => ("zeek/conn.log", ZEEK_HEADER, zeek),
            _ => ("b.json", "", |second, device, address| {
                format!("{{\"time\":\"{second}\",\"device\":\"{device}\",\"ip\":\"{address}\"}}\n")
            }),
        };
        let path = self.followed.path(name);
        let length = fs::metadata(&path).map_or(0, |it| it.len());
        match self.below(20) {
            0 if length > 0 => self.rename(name),
            1 if length > 0 => {
                let to = self.next_name(name);
                fs::copy(&path, self.followed.path(&to)).expect("copied");
                OpenOptions::new().write(true).truncate(true).open(&path).expect("truncated");
            }
            2 if length > 0 => self.compress(name),
            3 if length > 0 => {
                // Twice at once, so that the first is hardly seen.
                self.rename(name);
                let text = format!("{header}{}", self.rows(3, form));
                self.followed.append(name, text);
                self.rename(name);
            }
            _ => {
                let count = 1 + self.below(60);
                let rows = self.rows(count, form);
                let text = if length == 0 { format!("{header}{rows}") } else { rows };
                // In two writes, somewhere in a line.
                let cut = usize::try_from(self.below(text.len() as u64)).expect("short");
                self.followed.append(name, &text[..cut]);
                self.followed.append(name, &text[cut..]);
            }
        }
    }

    fn next_name(&mut self, name: &str) -> String {
        self.rotated += 1;
        match self.below(2) {
            0 => format!("{name}.{}", self.rotated),
            _ => format!("old/{}/{name}", self.rotated),
        }
    }

    fn rename(&mut self, name: &str) {
        let to = self.next_name(name);
        self.followed.rename(name, &to);
    }

    /// Renamed, compressed beside it, removed.
    fn compress(&mut self, name: &str) {
        let to = self.next_name(name);
        self.followed.rename(name, &to);
        let bytes = fs::read(self.followed.path(&to)).expect("a file");
        let packed = match self.below(2) {
            0 => gzip(&bytes),
            _ => zstd::encode_all(bytes.as_slice(), 1).expect("memory"),
        };
        let part = format!("{to}.tmp");
        fs::write(self.followed.path(&part), packed).expect("written");
        self.followed.rename(&part, &format!("{to}.packed"));
        fs::remove_file(self.followed.path(&to)).expect("removed");
    }
}

/// Rotations, truncations, copies and compressions while it is read: nothing is lost, and nothing is there that was not written.
#[test]
fn a_storm_of_rotations() {
    for (seed, more) in [(1, "exclude = ['**/*.tmp']"), (2, "exclude = ['**/*.tmp']\npoll = 1")] {
        let followed = Followed::new(more);
        let server = followed.serve();
        let mut writer = Writer::new(&followed, seed);
        for _ in 0..600 {
            writer.act();
            if writer.below(4) == 0 {
                std::thread::yield_now();
            }
        }
        writer.model.check(&followed.place);
        assert_eq!(server.stop(), 0);
    }
}

/// Killed at random moments while the storm goes on, as often as `SEENBY_KILLS` says.
#[test]
fn killed_at_random_moments() {
    let run = Run::wanted();
    let followed = Followed::new("exclude = ['**/*.tmp']");
    let mut writer = Writer::new(&followed, 3);
    for _ in 0..run.kills {
        let server = followed.serve();
        let before = writer.written;
        while writer.written < before + run.each() {
            writer.act();
        }
        // Somewhere in the middle of what was written now, or at once.
        let new = writer.written - before;
        let enough = if writer.below(4) == 0 { 0 } else { writer.below(new) };
        until("some of it", || taken(&server) >= enough);
        server.kill();
    }
    let server = followed.serve();
    writer.model.check(&followed.place);
    assert_eq!(server.stop(), 0);
}
