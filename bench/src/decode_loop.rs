//! What the machine does with a log when nothing is kept: the same reading, framing and decoding on the same cores,
//! into a sink that only touches what it is told. The limit beside which a load stands. Refuses to hold: batches,
//! the store.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use formats::{
    Chunk, Detection, Framer, HEAD_BYTES, Opened, Passed, Refusal, Settings, Sink, Taught, Wanted, decode,
    detect,
};

/// Bytes that are read at once, as the program does.
const BYTES_READ: usize = 256 << 10;

/// Counts, and looks at every part of what it is told so that none of the work can be left out.
#[derive(Default)]
pub(crate) struct Touch {
    records: u64,
    mixed: u64,
}

impl Touch {
    /// How many records it was told of.
    pub(crate) fn finish(self) -> u64 {
        std::hint::black_box(self.mixed);
        self.records
    }
}

impl Sink for Touch {
    fn opened(&mut self, record: &Opened<'_>) {
        self.records += 1;
        self.mixed ^= u64::from(record.second.unix()) ^ u64::from(record.remote.octets()[15]);
        self.mixed ^= record.device.iter().map(|mention| mention.written.len() as u64).sum::<u64>();
    }

    fn ignored(&mut self, record: &Passed<'_>) {
        self.records += 1;
        self.mixed ^= record.reporter.map_or(0, |it| u64::from(it.second.unix()));
    }

    fn taught(&mut self, record: &Taught<'_>) {
        self.records += 1;
        self.mixed ^= record.line;
    }

    fn refused(&mut self, _refusal: Refusal, line: u64, _field: Option<&'static str>) {
        self.records += 1;
        self.mixed ^= line;
    }
}

/// Reads a whole file. Answers how many records it has.
pub(crate) fn run(path: &Path, threads: usize) -> anyhow::Result<u64> {
    let settings = Settings::default();
    let mut file = File::open(path).context("the log cannot be opened")?;
    let mut buffer = vec![0; BYTES_READ];
    let first = file.read(&mut buffer)?;
    let head = buffer.get(..first.min(HEAD_BYTES)).unwrap_or_default();
    let Detection::Known(opening) = detect(head, false, Wanted::Detect, &settings.columns) else {
        anyhow::bail!("the log is not recognised");
    };
    let (sender, receiver) = sync_channel::<Chunk>(2 * threads);
    let receiver = Mutex::new(receiver);
    let records = thread::scope(|scope| -> anyhow::Result<u64> {
        let decoders: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut touch = Touch::default();
                    let next = || receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    while let Ok(chunk) = next() {
                        decode(&chunk, &settings, &mut touch);
                    }
                    touch.finish()
                })
            })
            .collect();
        let mut framer = Framer::new(opening, &settings.columns);
        let mut send = |chunk| sender.send(chunk).unwrap_or_default();
        framer.push(&buffer[..first], &mut send);
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                bytes => framer.push(&buffer[..bytes], &mut send),
            }
        }
        framer.finish(&mut send);
        drop(sender);
        Ok(decoders.into_iter().map(|decoder| decoder.join().unwrap_or_default()).sum())
    })?;
    Ok(records)
}
