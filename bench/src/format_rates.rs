//! How fast one core frames and decodes each format: the format's own samples, many times over, into a sink that only touches what
//! it is told. Refuses to hold: the store, and how long any one producer's records are.
//!
//! JSON stands beside six tenths of what Defender's JSON makes in bytes, since its records differ in length; lines of text stand
//! beside a million a second.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use formats::{Detection, Format, Framer, HEAD_BYTES, Settings, Wanted, decode, detect};
use jiff::tz::TimeZone;

use crate::Given;
use crate::decode_loop::Touch;
use crate::results::{Better, Results};

/// So many bytes of each: more than any cache of the machine holds.
const BYTES: usize = 48 << 20;
/// Times that each is read; the best counts.
const RUNS: usize = 3;
/// Lines a second that text is to reach.
const LINES: f64 = 1e6;
/// How JSON is to compare with Defender's, byte for byte.
const SHARE: f64 = 0.6;

/// Measures all of them.
pub(crate) fn measure(_: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    results.say("every format on one core, its samples over and over");
    let mde = rate(Format::Mde)?;
    for format in Format::ALL {
        let Rate { bytes, records, is_json } = if format == Format::Mde { mde } else { rate(format)? };
        let name = format!("load.format.{}", format.name());
        if is_json {
            let beside = ("6/10 of mde", SHARE * mde.bytes / 1e6);
            results.add(name, bytes / 1e6, "MB/s", Better::Higher, beside);
        } else {
            results.add(name, records, "records/s", Better::Higher, ("promise", LINES));
        }
    }
    Ok(())
}

/// What one format came to, a second.
#[derive(Clone, Copy)]
struct Rate {
    bytes: f64,
    records: f64,
    is_json: bool,
}

fn rate(format: Format) -> anyhow::Result<Rate> {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/formats/testdata");
    let sample = samples.join(format.name()).join("basic.log");
    let sample = std::fs::read(&sample).with_context(|| format!("{} cannot be read", sample.display()))?;
    let log = sample.repeat(BYTES / sample.len());
    let settings = Settings { time_zone: Some(TimeZone::UTC), ..Settings::default() };
    let mut best = Duration::MAX;
    let mut records = 0;
    for _ in 0..RUNS {
        let begun_at = Instant::now();
        records = read(&log, format, &settings)?;
        best = best.min(begun_at.elapsed());
    }
    let seconds = best.as_secs_f64();
    let is_json = matches!(sample.first(), Some(b'{' | b'['));
    Ok(Rate { bytes: log.len() as f64 / seconds, records: records as f64 / seconds, is_json })
}

/// Reads a log on this thread; how many records it has.
fn read(log: &[u8], format: Format, settings: &Settings) -> anyhow::Result<u64> {
    let head = log.get(..HEAD_BYTES).unwrap_or(log);
    let Detection::Known(opening) = detect(head, false, Wanted::Exactly(format), &settings.columns) else {
        anyhow::bail!("the samples of {} are not recognised", format.name());
    };
    let (mut framer, mut touch, mut ready) =
        (Framer::new(opening, &settings.columns), Touch::default(), Vec::new());
    for block in log.chunks(256 << 10) {
        framer.push(block, &mut |chunk| ready.push(chunk));
        for chunk in ready.drain(..) {
            decode(&chunk, settings, &mut touch);
            framer.recycle(chunk);
        }
    }
    framer.finish(&mut |chunk| decode(&chunk, settings, &mut touch));
    Ok(touch.finish())
}
