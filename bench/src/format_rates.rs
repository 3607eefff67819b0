//! How fast one core frames and decodes each format: the format's own samples, many times over, into a sink that only touches what
//! it is told. Refuses to hold: the store, and how long any one producer's records are.
//!
//! JSON stands beside six tenths of what Defender's JSON makes in bytes, since its records differ in length; lines of text stand
//! beside a million a second; XML and datagrams, of which nothing is promised, beside Defender's.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use formats::{Detection, Format, Framer, HEAD_BYTES, Settings, Wanted, decode, detect};
use jiff::tz::TimeZone;

use crate::Given;
use crate::decode_loop::Touch;
use crate::results::{Better, Results};

/// So many bytes of each: a moment's work.
const BYTES: usize = 8 << 20;
/// Times that each is read, by turns: on a machine that others use too, every format has its share of the calm moments. The best counts.
const ROUNDS: usize = 24;
/// Lines a second that text is to reach.
const LINES: f64 = 1e6;
/// How JSON is to compare with Defender's, byte for byte.
const SHARE: f64 = 0.6;

/// Measures all of them.
pub(crate) fn measure(_: &Given<'_>, results: &mut Results) -> anyhow::Result<()> {
    results.say("every format on one core, its samples over and over");
    let mut samples: Vec<Sample> = Format::ALL.into_iter().map(Sample::of).collect::<anyhow::Result<_>>()?;
    for _ in 0..ROUNDS {
        samples.iter_mut().try_for_each(Sample::read)?;
    }
    let mde = samples.iter().find(|sample| sample.format == Format::Mde).context("it is one of all")?;
    let mde = mde.bytes_per_second();
    for sample in &samples {
        let name = format!("load.format.{}", sample.format.name());
        let megabytes = sample.bytes_per_second() / 1e6;
        match sample.format {
            // Of which nothing is promised.
            Format::SysmonXml | Format::NetFlow => {
                results.add(name, megabytes, "MB/s", Better::Higher, ("mde", mde / 1e6));
            }
            format if format.is_json() => {
                results.add(name, megabytes, "MB/s", Better::Higher, ("6/10 of mde", SHARE * mde / 1e6));
            }
            _ => {
                let records = sample.records_per_second();
                results.add(name, records, "records/s", Better::Higher, ("promise", LINES));
            }
        }
    }
    Ok(())
}

/// A format's own samples, and how long reading them took at best.
struct Sample {
    format: Format,
    log: Vec<u8>,
    records: u64,
    best: Duration,
}

impl Sample {
    fn of(format: Format) -> anyhow::Result<Sample> {
        let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/formats/testdata");
        let sample = samples.join(format.name()).join("basic.log");
        let sample =
            std::fs::read(&sample).with_context(|| format!("{} cannot be read", sample.display()))?;
        Ok(Sample { format, log: sample.repeat(BYTES / sample.len()), records: 0, best: Duration::MAX })
    }

    fn read(&mut self) -> anyhow::Result<()> {
        let settings = Settings { time_zone: Some(TimeZone::UTC), ..Settings::default() };
        let begun_at = Instant::now();
        self.records = read(&self.log, self.format, &settings)?;
        self.best = self.best.min(begun_at.elapsed());
        Ok(())
    }

    fn bytes_per_second(&self) -> f64 {
        self.log.len() as f64 / self.best.as_secs_f64()
    }

    fn records_per_second(&self) -> f64 {
        self.records as f64 / self.best.as_secs_f64()
    }
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
