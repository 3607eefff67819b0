//! How far an ingest has come, on a terminal only. Refuses to hold: results.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Times a second that the bar is drawn.
const DRAWS_PER_SECOND: u8 = 10;

/// A progress bar, or nothing where nobody watches.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// For a number of bytes to read; none where it is not known (standard input).
    pub(crate) fn new(bytes: Option<u64>) -> Progress {
        if !std::io::stderr().is_terminal() {
            return Progress { bar: ProgressBar::hidden() };
        }
        let template = match bytes {
            Some(_) => {
                "{bar:30} {percent:>3} %  {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left  {wide_msg}"
            }
            None => "{spinner} {bytes}  {bytes_per_sec}  {elapsed}  {wide_msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND));
        bar.set_style(style);
        bar.enable_steady_tick(Duration::from_millis(250));
        Progress { bar }
    }

    /// An input begins.
    pub(super) fn begin(&self, name: &str) {
        self.bar.set_message(sighting::escape(name).into_owned());
    }

    /// Bytes of an input were read, before decompression.
    pub(super) fn advance(&self, bytes: u64) {
        self.bar.inc(bytes);
    }

    /// Does something that writes to the terminal, without the bar in its way.
    pub(crate) fn aside(&self, write: impl FnOnce()) {
        self.bar.suspend(write);
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
