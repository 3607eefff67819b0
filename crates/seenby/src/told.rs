//! What every source has told since this program started: counts for `/metrics` and for `GET /seenby/v1/sources`. Refuses to
//! hold: anything that must survive a restart, and what a record said.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use api::SourceReport;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use sighting::{OrganisationId, Second, SourceName, escape};

use crate::clock;
use crate::ingest::Tally;
use crate::sources::Status;

/// The counts of all sources; a clone is the same counts.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pushed: Arc<Mutex<BTreeMap<(OrganisationId, SourceName), SourceReport>>>,
    /// Those that this server reads by itself; they count themselves.
    pulled: Arc<OnceLock<Vec<Arc<Status>>>>,
}

/// Which source, how its records come, and what they are read as, where that is said.
#[derive(Clone, Debug)]
pub(crate) struct Teller {
    pub(crate) organisation: OrganisationId,
    pub(crate) name: SourceName,
    pub(crate) kind: &'static str,
    pub(crate) format: Option<String>,
}

impl Told {
    /// Adds what became of some records, which came as so many bytes.
    pub(crate) fn taken(&self, teller: &Teller, tally: &Tally, bytes: u64, newest: Option<Second>) {
        self.change(teller, |report| {
            report.sighted += tally.sighted;
            for (counts, more) in
                [(&mut report.ignored, &tally.ignored), (&mut report.refused, &tally.refused)]
            {
                for (code, count) in more {
                    *counts.entry(code).or_default() += count;
                }
            }
            report.bytes += bytes;
            report.newest = report.newest.max(newest);
            report.last_taken = Some(clock::now());
        });
    }

    /// Notes that something went wrong.
    pub(crate) fn failed(&self, teller: &Teller, what: String) {
        self.change(teller, |report| report.last_error = Some((clock::now(), what)));
    }

    /// The sources of an organisation that have told anything, sorted by name.
    pub(crate) fn reports(&self, organisation: OrganisationId) -> Vec<SourceReport> {
        let of_organisation = |(of, report)| (of == organisation).then_some(report);
        self.every().into_iter().filter_map(of_organisation).collect()
    }

    /// Those that this server reads by itself. The first call counts.
    pub(crate) fn follow(&self, pulled: &[Arc<Status>]) {
        let _ = self.pulled.set(pulled.to_vec());
    }

    /// Every source, sorted by organisation and name.
    fn every(&self) -> Vec<(OrganisationId, SourceReport)> {
        let pushed = self.all().iter().map(|((of, _), report)| (*of, report.clone())).collect::<Vec<_>>();
        let pulled = self.pulled.get().into_iter().flatten().filter_map(|status| status.report());
        let mut every: Vec<_> = pushed.into_iter().chain(pulled).collect();
        every.sort_by(|(of, a), (other, b)| (of, &a.name).cmp(&(other, &b.name)));
        every
    }

    fn change(&self, teller: &Teller, change: impl FnOnce(&mut SourceReport)) {
        let key = (teller.organisation, teller.name.clone());
        change(self.all().entry(key).or_insert_with(|| {
            SourceReport::new(teller.name.as_str().to_owned(), teller.kind, teller.format.clone())
        }));
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<(OrganisationId, SourceName), SourceReport>> {
        // Counts are sound whatever panicked beside them.
        self.pushed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows them beside the server's own metrics.
    pub(crate) fn register(&self, metrics: &api::Metrics) {
        metrics.register(|registry| registry.register_collector(Box::new(self.clone())));
    }
}

impl fmt::Debug for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Told").field("sources", &self.all().len()).finish_non_exhaustive()
    }
}

/// A metric of a source.
type Figure = (&'static str, &'static str, Option<Unit>, fn(&SourceReport) -> Option<Second>);

/// How a source stands now.
type Gauge = (&'static str, &'static str, fn(&SourceReport) -> u64);
const GAUGES: [Gauge; 3] = [
    ("seenby_source_in_trouble", "1 while something is wrong with a source", |it| {
        u64::from(it.error.is_some())
    }),
    (
        "seenby_source_open",
        "Files that are followed, connections that are open, partitions that are read",
        |it| it.open,
    ),
    (
        "seenby_source_paused",
        "Files and objects that are left, because too much of them was refused or they cannot be read",
        |it| it.paused,
    ),
];

/// The labels are an operator's words: the name of a source, never anything that it sent.
impl Collector for Told {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.every();
        let labels = |organisation: &OrganisationId, report: &SourceReport| {
            [
                ("organisation", organisation.to_string()),
                ("source", escape(&report.name).into_owned()),
                ("kind", report.kind.to_owned()),
            ]
        };
        let what = "Records of a source since the start, by what became of them and why";
        let mut records =
            encoder.encode_descriptor("seenby_source_records", what, None, MetricType::Counter)?;
        for (key, report) in &all {
            let [organisation, source, kind] = labels(key, report);
            let of =
                |result, counts: &BTreeMap<&'static str, u64>| -> Vec<(&'static str, &'static str, u64)> {
                    counts.iter().map(|(reason, count)| (result, *reason, *count)).collect()
                };
            let counts = [
                vec![("sighted", "", report.sighted)],
                of("ignored", &report.ignored),
                of("refused", &report.refused),
            ];
            for (result, reason, count) in counts.concat() {
                let labels = [
                    organisation.clone(),
                    source.clone(),
                    kind.clone(),
                    ("result", result.to_owned()),
                    ("reason", reason.to_owned()),
                ];
                ConstCounter::new(count).encode(records.encode_family(&labels)?)?;
            }
        }
        let figures: [Figure; 3] = [
            (
                "seenby_source_newest_timestamp",
                "The time of its newest sighting",
                Some(Unit::Seconds),
                |it| it.newest,
            ),
            (
                "seenby_source_taken_timestamp",
                "When something of it was taken last",
                Some(Unit::Seconds),
                |it| it.last_taken,
            ),
            (
                "seenby_source_failed_timestamp",
                "When something went wrong with it last",
                Some(Unit::Seconds),
                |it| it.last_error.as_ref().map(|(at, _)| *at),
            ),
        ];
        for (name, help, unit, figure) in figures {
            let mut metric = encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
            for (key, report) in &all {
                if let Some(second) = figure(report) {
                    ConstGauge::new(u64::from(second.unix()))
                        .encode(metric.encode_family(&labels(key, report))?)?;
                }
            }
        }
        let what = "What never came of a source, as far as anybody tells, by what it is counted in";
        let mut lost = encoder.encode_descriptor("seenby_source_lost", what, None, MetricType::Counter)?;
        for (key, report) in &all {
            let [organisation, source, kind] = labels(key, report);
            for (what, count) in &report.lost {
                let labels =
                    [organisation.clone(), source.clone(), kind.clone(), ("what", (*what).to_owned())];
                ConstCounter::new(*count).encode(lost.encode_family(&labels)?)?;
            }
        }
        for (name, help, gauge) in GAUGES {
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (key, report) in &all {
                ConstGauge::new(gauge(report)).encode(metric.encode_family(&labels(key, report))?)?;
            }
        }
        let what = "Bytes of a source: of uploads and messages without compression around them, of files and objects as they lie";
        let mut bytes =
            encoder.encode_descriptor("seenby_source", what, Some(&Unit::Bytes), MetricType::Counter)?;
        for (key, report) in &all {
            ConstCounter::new(report.bytes).encode(bytes.encode_family(&labels(key, report))?)?;
        }
        Ok(())
    }
}
