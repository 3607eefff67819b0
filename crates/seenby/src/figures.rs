//! What the store holds, for `/metrics`, read at each scrape. Refuses to hold: names or addresses; the labels of a
//! metric never come from data.

use std::fmt;
use std::sync::Arc;

use index::IndexStore;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

/// Shows a store's figures beside the server's own.
pub(crate) fn register(metrics: &api::Metrics, store: &Arc<IndexStore>) {
    let figures = StoreFigures(Arc::clone(store));
    metrics.register(|registry| registry.register_collector(Box::new(figures)));
}

struct StoreFigures(Arc<IndexStore>);

impl fmt::Debug for StoreFigures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreFigures").field(&self.0.figures()).finish()
    }
}

impl Collector for StoreFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.0.figures();
        let mut metric = |name, help, unit: Option<&Unit>, value: &dyn EncodeMetric| {
            value.encode(encoder.encode_descriptor(name, help, unit, value.metric_type())?)
        };
        for (name, help, value) in [
            (
                "seenby_store_sightings_taken",
                "Sightings taken since the start, repeats included",
                figures.appended,
            ),
            (
                "seenby_store_leases_dropped",
                "Leases of one address beyond the newest 16,384, which count no more",
                figures.leases_dropped,
            ),
            (
                "seenby_store_merges_dropped",
                "Merges that a product told of one device beyond the first 256, which do not count",
                figures.merges_dropped,
            ),
        ] {
            metric(name, help, None, &ConstCounter::new(value))?;
        }
        for (name, help, unit, value) in [
            ("seenby_store_organisations", "Organisations with any data", None, figures.organisations),
            ("seenby_store_live_rows", "Rows in memory, not yet in segments", None, figures.live_rows),
            ("seenby_store_segments", "Segment files", None, figures.segments),
            ("seenby_store_segment_rows", "Rows in segment files", None, figures.segment_rows),
            (
                "seenby_store_unfiltered_segments",
                "Those of them whose filters find no room: questions about them are slower until memory_mb is raised",
                None,
                figures.unfiltered_segments,
            ),
            (
                "seenby_store_index",
                "Filters and page indexes in memory",
                Some(&Unit::Bytes),
                figures.index_bytes,
            ),
            (
                "seenby_store_hot_addresses",
                "Addresses of many devices that are held in memory because they are asked often",
                None,
                figures.hot_addresses,
            ),
            ("seenby_store_hot", "Memory that they take", Some(&Unit::Bytes), figures.hot_bytes),
            (
                "seenby_store_stopped",
                "1 if a failure stopped all writing: mend its cause and start the server again",
                None,
                u64::from(figures.is_stopped),
            ),
        ] {
            metric(name, help, unit, &ConstGauge::new(value))?;
        }
        Ok(())
    }
}
