//! What the tests work with: a folder, the binary run in it, a running server, a few words of HTTP, log lines.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use sighting::Second;
use tempfile::TempDir;

/// The binary, with none of the caller's settings.
pub(crate) fn seenby(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_seenby"));
    let ours = ["SEENBY_DATA", "SEENBY_SETTINGS", "SEENBY_LOG", "SEENBY_KEY_FILE"];
    for variable in ours.iter().chain(&["XDG_DATA_HOME", "XDG_CONFIG_HOME"]) {
        command.env_remove(variable);
    }
    command.env("HOME", home).env("TZ", "UTC").env("NO_COLOR", "1").current_dir(home).stdin(Stdio::null());
    command
}

/// How a run of the binary ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(command: &mut Command) -> Run {
        let output = command.output().expect("the binary starts");
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
        }
    }

    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Run {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }

    /// The one line of JSON on standard output.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line of JSON: {:?}", self.stdout);
        serde_json::from_str(&self.stdout).expect("JSON")
    }
}

/// A folder with a data folder in it.
pub(crate) struct Place {
    pub(crate) root: TempDir,
    pub(crate) data: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Place {
        let root = tempfile::tempdir().expect("a temporary folder");
        let data = root.path().join("data");
        Place { root, data }
    }

    /// One whose data never become too old.
    pub(crate) fn keeping_for_ever() -> Place {
        let place = Place::new();
        place.run(["init", "--retention-hours", "forever"]).ends(0);
        place
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = seenby(self.root.path());
        command.args(arguments).arg("--data-dir").arg(&self.data);
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        Run::of(&mut self.command(arguments))
    }

    /// Runs it with something on standard input.
    pub(crate) fn feed<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Run {
        let path = self.write("standard-input", input);
        let file = std::fs::File::open(path).expect("just written");
        Run::of(self.command(arguments).stdin(file))
    }

    /// Writes a file beside the data folder.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// Takes logs in and gives the counts.
    #[track_caller]
    pub(crate) fn ingest(&self, name: &str, bytes: impl AsRef<[u8]>) -> Value {
        let path = self.write(name, bytes);
        let run = self.run([OsStr::new("ingest"), OsStr::new("--json"), path.as_os_str()]);
        assert!(run.code == 0 || run.code == 4, "{run:?}");
        run.json()
    }

    /// Devices, first and last of an address.
    #[track_caller]
    pub(crate) fn stats(&self, address: &str) -> (u64, Value, Value) {
        let body = self.run(["stats", "--json", address]).json();
        (
            body["organizationPrevalence"].as_u64().expect("a number"),
            body["orgFirstSeen"].clone(),
            body["orgLastSeen"].clone(),
        )
    }

    pub(crate) fn serve(&self) -> Server {
        Server::start(&mut self.command(["serve", "--listen", "127.0.0.1:0"]))
    }
}

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// `127.0.0.1:PORT`.
    pub(crate) host: String,
    /// The same of the operator's listener.
    pub(crate) operators: String,
    /// The first lines of standard output.
    pub(crate) lines: Vec<String>,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Server {
        Server::spawn(command.stderr(Stdio::null()), 2).at("http://")
    }

    /// One without an operator's listener, in plain HTTP. Its log goes where the command says.
    pub(crate) fn start_alone(command: &mut Command) -> Server {
        let mut server = Server::spawn(command, 1);
        server.host = server.lines[0].strip_prefix("http://").expect("a URL").to_owned();
        server
    }

    /// One that speaks TLS.
    pub(crate) fn start_tls(command: &mut Command) -> Server {
        Server::spawn(command.stderr(Stdio::null()), 2).at("https://")
    }

    /// One whose log goes to a file.
    pub(crate) fn start_logged(command: &mut Command, log: &Path) -> Server {
        let log = std::fs::File::create(log).expect("a file");
        Server::spawn(command.stderr(log), 2).at("http")
    }

    fn at(mut self, scheme: &str) -> Server {
        let first = &self.lines[0];
        let host = first.strip_prefix(scheme).unwrap_or_else(|| panic!("{first:?}"));
        self.host = host.trim_start_matches(['s', ':', '/']).to_owned();
        let second = &self.lines[1];
        let host = second.strip_prefix("http://").and_then(|url| url.strip_suffix("/metrics"));
        self.operators = host.unwrap_or_else(|| panic!("{second:?}")).to_owned();
        self
    }

    /// A demo, which prints more: what to paste.
    pub(crate) fn start_demo(command: &mut Command) -> Server {
        Server::spawn(command.stderr(Stdio::null()), 10)
    }

    fn spawn(command: &mut Command, first_lines: usize) -> Server {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut lines = Vec::new();
        for _ in 0..first_lines {
            let mut line = String::new();
            stdout.read_line(&mut line).expect("a line");
            lines.push(line.trim_end().to_owned());
        }
        Server { child, stdout, host: String::new(), operators: String::new(), lines }
    }

    /// Ends it as a service manager does; its exit code.
    pub(crate) fn stop(mut self) -> i32 {
        self.signal(rustix::process::Signal::TERM);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("UTF-8");
        assert_eq!(rest, "", "nothing more on standard output");
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, signal).expect("it runs");
    }

    /// Its number in the system.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Status and body of a GET.
    pub(crate) fn get(&self, path: &str, token: Option<&str>) -> (u16, String) {
        let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        self.exchange(&format!("GET {path} HTTP/1.1\r\n{bearer}"), "")
    }

    /// What the operator's listener says of the server.
    pub(crate) fn metrics(&self) -> String {
        let (status, text) = exchange(&self.operators, &self.operators, "GET /metrics HTTP/1.1\r\n", "");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// A token for the credentials that `app add --json` printed.
    pub(crate) fn token(&self, credentials: &Value) -> String {
        let text = |key: &str| credentials[key].as_str().expect("a text").to_owned();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default",
            text("client_id"),
            text("client_secret")
        );
        let (status, body) = self.post_form(&format!("/{}/oauth2/v2.0/token", text("tenant")), &form);
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["access_token"].as_str().expect("a token").to_owned()
    }

    /// Status and body of a form that is sent.
    pub(crate) fn post_form(&self, path: &str, form: &str) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
            form.len()
        );
        self.exchange(&head, form)
    }

    /// Status and body of something that is sent, with an Authorization of any kind.
    pub(crate) fn post(&self, path: &str, authorization: &str, body: &[u8]) -> (u16, String) {
        self.post_as(path, authorization, "application/octet-stream", body)
    }

    /// The same of a content type.
    pub(crate) fn post_as(&self, path: &str, authorization: &str, kind: &str, body: &[u8]) -> (u16, String) {
        let head = format!(
            "POST {path} HTTP/1.1\r\nAuthorization: {authorization}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n",
            body.len()
        );
        exchange(&self.host, &self.host, &head, body)
    }

    /// Status and body of a GET of the operator's listener.
    pub(crate) fn get_operators(&self, path: &str, token: &str) -> (u16, String) {
        let head = format!("GET {path} HTTP/1.1\r\nAuthorization: Bearer {token}\r\n");
        exchange(&self.operators, &self.operators, &head, "")
    }

    /// Everything that comes back for a GET behind a PROXY header that names a peer.
    pub(crate) fn proxied(&self, peer: &str, path: &str) -> String {
        let peer: std::net::Ipv4Addr = peer.parse().expect("an address");
        let mut stream = TcpStream::connect(&self.host).expect("it listens");
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        bytes.extend(peer.octets());
        bytes.extend([127, 0, 0, 1, 0xc0, 0, 0x1f, 0x90]);
        bytes.extend(format!("GET {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").into_bytes());
        stream.write_all(&bytes).expect("it reads");
        let mut reply = String::new();
        stream.read_to_string(&mut reply).expect("UTF-8");
        reply
    }

    /// Status and body of a GET that calls another host.
    pub(crate) fn get_as(&self, host: &str, path: &str, token: Option<&str>) -> (u16, String) {
        let bearer = token.map_or_else(String::new, |token| format!("Authorization: Bearer {token}\r\n"));
        self.exchange_as(host, &format!("GET {path} HTTP/1.1\r\n{bearer}"), "")
    }

    fn exchange(&self, head: &str, body: &str) -> (u16, String) {
        self.exchange_as(&self.host, head, body)
    }

    fn exchange_as(&self, host: &str, head: &str, body: &str) -> (u16, String) {
        exchange(&self.host, host, head, body)
    }
}

/// After which something that should happen has not. Far more than it takes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Waits until something is there.
#[track_caller]
pub(crate) fn until_some<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let begun_at = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(begun_at.elapsed() < DEADLINE, "{what} did not come");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    until_some(what, || holds().then_some(()));
}

/// A server with the source `own`.
pub(crate) struct Reading {
    pub(crate) place: Place,
    settings: PathBuf,
    pub(crate) log: PathBuf,
}

impl Reading {
    /// With these settings of the source.
    pub(crate) fn new(place: Place, settings: &str) -> Reading {
        let settings = place.write("seenby.toml", format!("[[sources]]\nname = 'own'\n{settings}\n"));
        let log = place.root.path().join("server.log");
        Reading { place, settings, log }
    }

    /// Starts it, or starts it again.
    pub(crate) fn serve(&self) -> Server {
        self.serve_with(&[])
    }

    /// The same with something in its environment.
    pub(crate) fn serve_with(&self, environment: &[(&str, &Path)]) -> Server {
        let mut command = self.place.command([
            "serve",
            "--no-tls",
            "--listen",
            "127.0.0.1:0",
            "--operator-listen",
            "127.0.0.1:0",
        ]);
        command.envs(environment.iter().copied()).arg("--settings").arg(&self.settings);
        Server::start_logged(&mut command, &self.log)
    }

    /// Where it listens, by what its log says first about a listener.
    #[track_caller]
    pub(crate) fn address(&self, said: &str) -> String {
        until_some("the listener", || {
            let log = std::fs::read_to_string(&self.log).expect("text");
            let line = log.lines().find(|line| line.contains(said))?;
            Some(line.split_once("address=")?.1.split_whitespace().next()?.to_owned())
        })
    }

    /// Waits until so many devices are in the answer.
    #[track_caller]
    pub(crate) fn comes(&self, address: &str, devices: u64) {
        until(&format!("{devices} devices of {address}"), || {
            let body = self.place.run(["stats", "--json", address]).json();
            body["organizationPrevalence"].as_u64() == Some(devices)
        });
    }
}

/// Sends a request to an address by the name of a host: status and body.
pub(crate) fn exchange(address: &str, host: &str, head: &str, body: impl AsRef<[u8]>) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("it listens");
    write!(stream, "{head}Host: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
    stream.write_all(body.as_ref()).expect("it reads");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("UTF-8");
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, body.to_owned())
}

impl Drop for Server {
    fn drop(&mut self) {
        // Already ended in most tests.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the binary under test reads the real clock too")]
pub(crate) fn now() -> Second {
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    Second::new(u32::try_from(since_1970.as_secs()).expect("before 2106"))
}

/// A title for the terminal, a line break, a forged CEF record, marks that turn the reading direction.
pub(crate) const HOSTILE: &str = "\u{1b}]0;x\u{7}\n|=CEF:0\u{202e}\u{2066}evil";

/// Nothing in it but line breaks moves a cursor or turns the reading direction.
#[track_caller]
pub(crate) fn check_text(what: &str, text: &str) {
    for c in text.chars() {
        let is_text = c == '\n'
            || !(c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c));
        assert!(is_text, "{what} shows {c:?} raw: {text:?}");
    }
}

/// A line of Defender's storage export.
pub(crate) fn mde(second: Second, device_id: &str, device_name: &str, remote: &str) -> String {
    let record = serde_json::json!({
        "time": second.to_string(),
        "category": "AdvancedHunting-DeviceNetworkEvents",
        "properties": {
            "Timestamp": second.to_string(),
            "DeviceId": device_id,
            "DeviceName": device_name,
            "ActionType": "ConnectionSuccess",
            "RemoteIP": remote,
            "RemotePort": 443,
            "LocalIP": "10.1.2.3",
            "Protocol": "Tcp",
        },
    });
    format!("{record}\r\n")
}

pub(crate) const ZEEK_HEADER: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n#path\tconn\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\n\
    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\n";

/// Lines of [`ZEEK_HEADER`].
pub(crate) const ZEEK_HEADER_LINES: u64 = 7;

/// A row under [`ZEEK_HEADER`].
pub(crate) fn zeek(second: Second, device: &str, remote: &str) -> String {
    format!("{}.345678\tCAbc123\t{device}\t50001\t{remote}\t443\ttcp\tSF\n", second.unix())
}

/// A row under the header `time,device,ip`.
pub(crate) fn csv(second: Second, device: &str, remote: &str) -> String {
    format!("{second},{device},{remote}\n")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}
