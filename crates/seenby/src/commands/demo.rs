//! `seenby demo`: the whole product on a simulated fleet, through the real ingest, the real server and real HTTP.
//! Refuses to hold: the simulation (the fleet), and any path into the store that real logs do not take.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use flate2::Compression;
use flate2::write::GzEncoder;
use fleet::{Fleet, Sensor, Truth};
use serde::{Deserialize, Serialize};
use sighting::{Address, Permission, SECONDS_PER_DAY, Second, Window};

use super::app::Credentials;
use super::serve::{Server, Stop, listen, start_logging};
use super::{Context, app, ask_http, ingest};
use crate::clock;
use crate::exit::{Exit, ExitWith as _, Failure, Outcome};
use crate::hint;
use crate::house::{House, shown};
use crate::ingest::{Input, Plan};
use crate::output::{Output, counted, grouped, note};
use crate::sealing;

/// See it work: a simulated fleet of 1,000 devices, its logs, the server and a question to paste
#[derive(Args, Debug)]
#[command(
    after_help = "Everything is kept in ./demo-data (or --data-dir; SEENBY_DATA is not used); remove that folder to be\nrid of it.\n\nExamples:\n  seenby demo\n  seenby demo --exit --fresh --devices 100 --days 7"
)]
pub(crate) struct DemoArgs {
    /// Ask once over HTTP, print the answer and end
    #[arg(long)]
    exit: bool,
    /// Remove an earlier demo's folder and begin anew
    #[arg(long)]
    fresh: bool,
    /// How many devices
    #[arg(long, value_name = "NUMBER", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    devices: u32,
    /// How many days, ending now
    #[arg(long, value_name = "NUMBER", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=30))]
    days: u32,
}

const FOLDER: &str = "demo-data";
const MARKER: &str = "demo.json";
const LOGS: &str = "logs";
const APPLICATION: &str = "demo";
/// A demo ends "now"; one that is older than this many seconds answers about a fleet that fell silent.
const AGE_SECONDS_MAX: u32 = SECONDS_PER_DAY;

/// What a demo's folder says of itself: enough to make the same fleet again.
#[derive(Serialize, Deserialize, Clone, Copy, Debug)]
#[serde(deny_unknown_fields)]
struct Marker {
    seed: u64,
    devices: u32,
    days: u32,
    until: u32,
    /// All logs are in the store.
    complete: bool,
}

impl Marker {
    fn new(args: &DemoArgs) -> Marker {
        Marker {
            seed: fleet::Settings::default().seed,
            devices: args.devices,
            days: args.days,
            until: clock::now().unix(),
            complete: false,
        }
    }

    fn fleet(self) -> Fleet {
        Fleet::new(fleet::Settings {
            seed: self.seed,
            devices: self.devices,
            days: self.days,
            until: Second::new(self.until),
            ..fleet::Settings::default()
        })
    }

    fn read(folder: &Path) -> Result<Option<Marker>, Failure> {
        let text = match fs::read_to_string(folder.join(MARKER)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // One that is cut short was being written: that demo is made anew.
        Ok(serde_json::from_str(&text).ok())
    }

    fn write(self, folder: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string(&self).context("the demo's marker").exit_with(Exit::Unavailable)?;
        fs::write(folder.join(MARKER), text)?;
        Ok(())
    }
}

/// Runs the command.
pub(crate) async fn run(args: DemoArgs, mut context: Context) -> Outcome {
    let folder = folder(&context);
    let known = prepare(&folder, &args)?;
    introduce(&folder, known, &args);
    let begun_at = Instant::now();
    let house = House::hold(&folder, &context.settings.store).await?;
    let marker = match known {
        Some(marker) => marker,
        None => Marker::new(&args),
    };
    let fleet = marker.fleet();
    if !marker.complete {
        marker.write(&folder)?;
        let logs = write_logs(&folder, &fleet)?;
        feed(&house, &context, &logs).await?;
        Marker { complete: true, ..marker }.write(&folder)?;
    }
    let credentials = credentials(&house).await?;
    start_logging(&context.settings, if args.exit { "warn" } else { "info" })?;
    let stop = Stop::on_signals()?;
    let listener = listen(([127, 0, 0, 1], 0).into()).await?;
    // It asks itself, without a proxy, knows nobody's tokens but its own, and holds nobody's sightings but the fleet's.
    context.settings.sources.clear();
    context.settings.proxy_protocol = false;
    context.settings.issuers.clear();
    let sealing = sealing::key(&context.settings, &folder)?;
    let server = Server::new(listener.into(), &context.settings, sealing)?;
    let url = server.url();
    let opening = async { Ok(house) };
    if !args.exit {
        let ready = || {
            note(&format!("Ready after {:.1} s.", begun_at.elapsed().as_secs_f64()));
            show(&url, &credentials, &fleet, &folder, &mut context.output)
        };
        server.run(opening, stop, ready).await?;
        return Ok(Exit::Done);
    }
    let (is_ready, ready) = tokio::sync::oneshot::channel();
    let running = tokio::spawn(server.run(opening, stop, || {
        // Whoever waits for it may have given up.
        let _ = is_ready.send(());
        Ok(())
    }));
    if ready.await.is_err() {
        // It ended before it was ready, and knows why.
        let ended = running.await.context("the server did not start")?;
        return Err(ended.err().unwrap_or_else(|| Failure::unavailable("the server was stopped")));
    }
    note(&format!("Ready after {:.1} s.", begun_at.elapsed().as_secs_f64()));
    let answered = ask(&url, &credentials, fleet.rich_address()).await?;
    running.abort();
    check(&answered, &fleet)?;
    context.output.line(answered.body.trim_end())?;
    note("That is what the fleet's own books say.");
    Ok(Exit::Done)
}

/// The folder that was typed, else the demo's own: `SEENBY_DATA` is where real data are.
fn folder(context: &Context) -> PathBuf {
    let typed = context.global.data_dir.clone().filter(|_| context.global.data_dir_is_typed);
    typed.unwrap_or_else(|| PathBuf::from(FOLDER))
}

/// Looks at what is there; removes an earlier demo if that was asked for. Never touches another folder.
fn prepare(folder: &Path, args: &DemoArgs) -> Result<Option<Marker>, Failure> {
    let is_empty = match fs::read_dir(folder) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => {
            let message = format!("{}: {error}; name another folder with --data-dir", shown(folder));
            return Err(match error.kind() {
                std::io::ErrorKind::PermissionDenied => Failure::not_allowed(message),
                _ => Failure::unavailable(message),
            });
        }
    };
    if is_empty {
        return Ok(None);
    }
    if !folder.join(MARKER).exists() {
        return Err(Failure::unavailable(format!(
            "{} is there and is not a demo's: name another folder with --data-dir, or remove it yourself",
            shown(folder)
        )));
    }
    if args.fresh {
        fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", shown(folder)))?;
        return Ok(None);
    }
    let Some(marker) = Marker::read(folder)? else { return Ok(None) };
    let is_same = (marker.devices, marker.days) == (args.devices, args.days);
    if !is_same || clock::now().unix().saturating_sub(marker.until) > AGE_SECONDS_MAX {
        return Err(Failure::usage(format!(
            "{} holds a demo of {} over {} that ended {}; run `{}` to begin anew",
            shown(folder),
            counted(marker.devices.into(), "device"),
            counted(marker.days.into(), "day"),
            Second::new(marker.until),
            hint::run(format!("demo --fresh --devices {} --days {}", args.devices, args.days))
                .about_none()
                .on(folder)
        )));
    }
    Ok(Some(marker))
}

fn introduce(folder: &Path, known: Option<Marker>, args: &DemoArgs) {
    let (devices, days) = (counted(args.devices.into(), "device"), counted(args.days.into(), "day"));
    let folder = shown(folder);
    match known {
        Some(marker) if marker.complete => {
            note(&format!("This uses the demo in {folder} again ({devices}, {days}); --fresh begins anew."));
        }
        Some(_) => note(&format!(
            "This goes on with the demo in {folder} ({devices}, {days}), which was interrupted."
        )),
        None => {
            note(&format!(
                "This makes up a fleet of {devices} over {days} ending now, half of them reporting by"
            ));
            note(&format!(
                "Microsoft Defender and half seen by Zeek, writes its logs into {folder}/{LOGS}, takes them in"
            ));
            note("as real logs are taken in, and starts a server on a free port of this machine.");
        }
    }
}

/// Writes the logs of both sensors, as gzip.
fn write_logs(folder: &Path, fleet: &Fleet) -> Result<[PathBuf; 2], Failure> {
    let begun_at = Instant::now();
    let logs = folder.join(LOGS);
    fs::create_dir_all(&logs).with_context(|| format!("{} cannot be made", shown(&logs)))?;
    let paths = [logs.join("DeviceNetworkEvents.json.gz"), logs.join("conn.log.gz")];
    let open = |path: &Path| -> Result<_, Failure> {
        let file = File::create(path).with_context(|| format!("{} cannot be written", shown(path)))?;
        Ok(GzEncoder::new(BufWriter::new(file), Compression::fast()))
    };
    let (mut mde, mut zeek) = (open(&paths[0])?, open(&paths[1])?);
    let mut text = Vec::new();
    fleet::zeek_header(&mut text);
    zeek.write_all(&text)?;
    let mut lines = 0;
    for event in fleet.events() {
        text.clear();
        event.write(&mut text);
        match event.sensor {
            Sensor::Mde => mde.write_all(&text)?,
            Sensor::Zeek => zeek.write_all(&text)?,
        }
        lines += 1;
    }
    for writer in [mde, zeek] {
        writer.finish()?.flush()?;
    }
    note(&format!("Wrote {} in {:.1} s.", counted(lines, "line"), begun_at.elapsed().as_secs_f64()));
    Ok(paths)
}

/// Takes the logs in, exactly as `seenby ingest` does.
async fn feed(house: &House, context: &Context, logs: &[PathBuf]) -> Result<(), Failure> {
    let begun_at = Instant::now();
    let organisation = house.organisation(context.organisation_name()).await?;
    let plan = Plan {
        wanted: formats::Wanted::Detect,
        formats: formats::Settings::default(),
        source: None,
        threads: context.settings.ingest_threads,
    };
    let inputs: Vec<Input> = logs.iter().map(|path| Input::file(path)).collect();
    let interrupt = ingest::Interrupt::listen();
    let tally = ingest::take_in(house, &organisation, &plan, &inputs, &interrupt).await?;
    if interrupt.is_set() {
        return Err(Failure {
            exit: Exit::Interrupted,
            cause: anyhow::anyhow!("interrupted; run it again to go on"),
        });
    }
    let ignored: u64 = tally.ignored.values().sum();
    note(&format!(
        "Took in {}: {} sighted, {} ignored, {} refused, in {:.1} s.",
        counted(tally.lines(), "record"),
        grouped(tally.sighted),
        grouped(ignored),
        grouped(tally.refused_total()),
        begun_at.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The demo's application: added, or given a new secret (the old one cannot be read back).
async fn credentials(house: &House) -> Result<Credentials, Failure> {
    let organisation = house.organisation(None).await?;
    match house.book().await?.application(organisation.id, APPLICATION) {
        Some(application) => app::rotate(house, application, 0).await,
        None => app::add(house, &organisation, APPLICATION, vec![Permission::IpReadAll]).await,
    }
}

/// Prints what to paste.
fn show(
    url: &str,
    credentials: &Credentials,
    fleet: &Fleet,
    folder: &Path,
    output: &mut Output,
) -> Result<(), Failure> {
    let Credentials { tenant, client_id, client_secret } = credentials;
    output.line(format!("seenby answers at {url}. Ask it from another terminal:"))?;
    output.line("")?;
    output.line(format!(
        "TOKEN=$(curl -s {url}/{tenant}/oauth2/v2.0/token -d grant_type=client_credentials -d client_id={client_id} \
         -d client_secret={client_secret} -d scope=https://api.securitycenter.microsoft.com/.default \
         | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
    ))?;
    output.line(format!(
        "curl -s -H \"Authorization: Bearer $TOKEN\" {url}/api/ips/{}/stats",
        fleet.rich_address()
    ))?;
    output.line("")?;
    output.line("Or on the command line:")?;
    output.line("")?;
    output.line(hint::run(format!("stats {}", fleet.rare_address())).about_none().on(folder).to_string())?;
    output.line("")?;
    output.line("Ctrl-C ends the server.")
}

/// What the server said, and between which moments it was asked.
struct Answered {
    address: Address,
    body: String,
    asked_at: Second,
    answered_at: Second,
}

/// Gets a token and asks, as a client does.
async fn ask(url: &str, credentials: &Credentials, address: Address) -> Result<Answered, Failure> {
    let host = url.trim_start_matches("http://").to_owned();
    let token_path = format!("/{}/oauth2/v2.0/token", credentials.tenant);
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=https%3A%2F%2Fapi.securitycenter.microsoft.com%2F.default",
        credentials.client_id, credentials.client_secret
    );
    let asking = move || -> anyhow::Result<Answered> {
        let reply = ask_http::post_form(&host, &token_path, &form).context("the token was not given")?;
        let reply: serde_json::Value = serde_json::from_str(&reply).context("the token's reply")?;
        let token = reply["access_token"].as_str().context("the reply has no token")?;
        let asked_at = clock::now();
        let body = ask_http::get(&host, &format!("/api/ips/{address}/stats"), token)
            .context("the question failed")?;
        Ok(Answered { address, body, asked_at, answered_at: clock::now() })
    };
    let answered = tokio::task::spawn_blocking(asking).await.context("the question was not asked")?;
    answered.exit_with(Exit::Unavailable)
}

/// Compares the answer with the fleet's own truth.
fn check(answered: &Answered, fleet: &Fleet) -> Result<(), Failure> {
    let mut truth = Truth::default();
    for event in fleet.events().filter(|event| event.remote == answered.address) {
        truth.add(&event);
    }
    truth.settle();
    let body: serde_json::Value = serde_json::from_str(&answered.body).context("the answer is not JSON")?;
    // The server's "now" is one of the seconds between question and answer.
    let fits = (answered.asked_at.unix()..=answered.answered_at.unix()).any(|now| {
        let window = Window::look_back(Second::new(now), 720);
        truth.stats(answered.address, window).is_some_and(|(devices, first, last)| {
            body["organizationPrevalence"] == devices
                && body["orgFirstSeen"] == first.to_string()
                && body["orgLastSeen"] == last.to_string()
        })
    });
    if fits {
        return Ok(());
    }
    let expected = truth.stats(answered.address, Window::look_back(answered.answered_at, 720));
    Err(Failure::unavailable(format!(
        "the answer {} is not the truth: {expected:?}",
        answered.body.trim_end()
    )))
}
