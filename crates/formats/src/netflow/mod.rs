//! NetFlow 5, NetFlow 9 and IPFIX: flow records in datagrams, as routers and firewalls send them. [`Flows`] takes one datagram after
//! the other and tells a sink of every record in it; in a file, datagrams stand one behind the other, of one exporter.
//!
//! Holds: per exporter and observation domain its templates, its sequence of datagrams, and the sets that came before their template,
//! which are read when it comes or refused in the end. Refuses to hold: sockets, a clock (nothing here grows old by time), and more
//! memory than its bounds say, whatever is sent.
//!
//! What counts as a record: a record of a NetFlow 5 datagram or of a set of data; a set of templates (a header); what cannot be read,
//! from a record to a whole datagram, once. The number of the record stands in place of a line's.
//!
//! Templates and values are read by `netflow_parser`, one set at a time, so that damage in one set costs no other, and what it does not
//! give back is counted (`template::Layout::walk`); its own store for sets that wait is not used, because it asks a clock and does not
//! say what it drops. What a flow means is in `flow`.

mod file;
mod flow;
mod loss;
mod template;
mod waiting;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use netflow_parser::static_versions::v5::V5;
use netflow_parser::variable_versions::{ipfix, v9};
use netflow_parser::{FieldValue, NetflowPacket, NetflowParser};

use self::flow::{Flow, Times};
use self::loss::Sequence;
use self::template::{Layout, Walked, number};
use self::waiting::{Kept, Waiting};
use self::wire::{Header, Set, Sets, Version};
use crate::record::{Ignored, Passed, Refusal, Sink};
use crate::settings::Settings;

pub(crate) use file::File;
pub use loss::Lost;
pub(crate) use wire::begins;

/// Domains of exporters that are known at once; the one that was silent for longest is forgotten for a new one.
const DOMAINS_MAX: usize = 512;
/// Templates of a domain. Real ones have some dozens; with more than that it starts anew.
const TEMPLATES_MAX: usize = 256;
/// Fields of a template; real ones stay below 100.
const TEMPLATE_FIELDS_MAX: usize = 1_024;
/// Fields of all templates of all domains, some 50 bytes each; beyond it domains are forgotten.
const FIELDS_MAX: usize = 1 << 18;

/// What a piece of a datagram turned out to be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told {
    /// A flow, which has to be judged yet.
    Flow(Flow),
    Ignored(Ignored),
    Refused(Refusal),
}

impl Told {
    /// Tells the sink of it, as the record of this number.
    pub(crate) fn tell(&self, line: u64, settings: &Settings, sink: &mut impl Sink) {
        match self {
            Told::Flow(flow) => {
                if let Err(fault) = flow.judge(line, settings, sink) {
                    sink.refused(fault.refusal, line, fault.field);
                }
            }
            Told::Ignored(why) => sink.ignored(&Passed::by_nobody(*why, line)),
            Told::Refused(refusal) => sink.refused(*refusal, line, None),
        }
    }
}

/// Where templates and sequence numbers belong to: exporter, version, domain.
type Key = (SocketAddr, Version, u32);

/// What exporters have sent so far that later datagrams need.
#[derive(Default, Debug)]
pub struct Flows {
    domains: BTreeMap<Key, Domain>,
    waiting: Waiting,
    /// Of all templates.
    fields: usize,
    /// Datagrams so far: the clock by which domains are silent.
    datagrams: u64,
    /// Records so far.
    records: u64,
    /// What was lost of domains that are forgotten.
    lost_of_forgotten: Lost,
    /// The set that is being read, as a datagram of its own.
    alone: Vec<u8>,
}

/// One observation domain of one exporter.
#[derive(Debug)]
struct Domain {
    parser: NetflowParser,
    templates: BTreeMap<u16, Template>,
    sequence: Sequence,
    /// When the exporter booted, if a record of options told, in milliseconds since 1970.
    boot_ms: Option<u64>,
    /// The number of its last datagram.
    used: u64,
}

/// What a template is of.
#[derive(Debug)]
enum Template {
    Data(Layout),
    /// Facts about the exporter itself; with the number of fields.
    Options(usize),
}

impl Template {
    fn fields(&self) -> usize {
        match self {
            Template::Data(layout) => layout.fields(),
            Template::Options(fields) => *fields,
        }
    }
}

impl Flows {
    /// Of no exporter yet.
    pub fn new() -> Flows {
        Flows::default()
    }

    /// Tells the sink of every record in a datagram that came from this address and port, and of those that waited for a template in it.
    pub fn datagram(
        &mut self,
        exporter: SocketAddr,
        datagram: &[u8],
        settings: &Settings,
        sink: &mut impl Sink,
    ) {
        let mut line = self.records;
        self.read(exporter, datagram, Refusal::BadDatagram, &mut |told| {
            line += 1;
            told.tell(line, settings, sink);
        });
        self.records = line;
    }

    /// No more will come: what still waits for a template is refused.
    pub fn finish(&mut self, sink: &mut impl Sink) {
        for _ in 0..self.waiting.clear() {
            self.records += 1;
            sink.refused(Refusal::NoTemplate, self.records, None);
        }
    }

    /// Sets of records that wait for their template; none of them has been told of yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What never arrived, by the sequence numbers of all exporters.
    pub fn lost(&self) -> Lost {
        let mut lost = self.lost_of_forgotten;
        self.domains.iter().for_each(|((_, version, _), domain)| lost.add(domain.lost(*version)));
        lost
    }

    /// The same of each exporter that is not forgotten.
    pub fn lost_of_each(&self) -> BTreeMap<SocketAddr, Lost> {
        let mut all: BTreeMap<SocketAddr, Lost> = BTreeMap::new();
        for ((exporter, version, _), domain) in &self.domains {
            all.entry(*exporter).or_default().add(domain.lost(*version));
        }
        all
    }

    /// Reads a datagram; `cut` is what a piece at its end is that is no whole set.
    fn read(&mut self, exporter: SocketAddr, datagram: &[u8], cut: Refusal, out: &mut dyn FnMut(Told)) {
        let Some(header) = Header::read(datagram) else { return out(Told::Refused(cut)) };
        let key = (exporter, header.version, header.domain);
        self.datagrams += 1;
        self.meet(key);
        let (number, counts) = match header.version {
            Version::V5 => (header.sequence, Flows::read_v5(&header, datagram, cut, out)),
            Version::V9 => {
                self.read_sets(&key, &header, datagram, cut, out);
                (header.sequence, Some(1))
            }
            Version::Ipfix => (header.sequence, self.read_sets(&key, &header, datagram, cut, out)),
        };
        if let Some(domain) = self.domains.get_mut(&key) {
            domain.sequence.came(number, counts);
        }
    }

    /// How many records there were; none if it could not be read.
    fn read_v5(header: &Header, datagram: &[u8], cut: Refusal, out: &mut dyn FnMut(Told)) -> Option<u32> {
        // The library has read the version when it comes to the rest.
        let Ok((rest, read)) = V5::parse_direct(datagram.get(2..).unwrap_or_default()) else {
            out(Told::Refused(cut));
            return None;
        };
        let times = Times::of(header, None);
        read.flowsets.iter().for_each(|record| out(Told::Flow(Flow::of_v5(record, times))));
        if !rest.is_empty() {
            out(Told::Refused(Refusal::BadDatagram));
        }
        u32::try_from(read.flowsets.len()).ok()
    }

    /// How many records there were; none if that is not known.
    fn read_sets(
        &mut self,
        key: &Key,
        header: &Header,
        datagram: &[u8],
        cut: Refusal,
        out: &mut dyn FnMut(Told),
    ) -> Option<u32> {
        let end = header.length.unwrap_or(datagram.len());
        let (datagram, behind) = datagram.split_at_checked(end).unwrap_or((datagram, &[]));
        let (mut records, mut is_cut) = (Some(0), end > datagram.len());
        for set in Sets::of(header, datagram) {
            is_cut |= set.is_none();
            let of_set = set.and_then(|set| self.read_set(key, header, set, out));
            records = records.zip(of_set).map(|(one, other)| one + other);
        }
        if is_cut {
            out(Told::Refused(cut));
            records = None;
        }
        if !behind.is_empty() {
            out(Told::Refused(Refusal::BadDatagram));
        }
        records
    }

    /// Reads a set: how many records of data it has; none if that is not known.
    fn read_set(
        &mut self,
        key: &Key,
        header: &Header,
        set: Set<'_>,
        out: &mut dyn FnMut(Told),
    ) -> Option<u32> {
        let Some(domain) = self.domains.get_mut(key) else {
            out(Told::Refused(Refusal::NoTemplate));
            return None;
        };
        let walked = domain.walk(set);
        match domain.layout(set.id).filter(|_| walked.has_empty) {
            Some(layout) => {
                header.with_set(set.id, |out| layout.without_empty(set.body(), out), &mut self.alone);
            }
            None => header.with_set(set.id, |out| out.extend_from_slice(set.body()), &mut self.alone),
        }
        match domain.read(&self.alone) {
            Body::Templates(learnt) => {
                out(Told::Ignored(Ignored::Header));
                self.learn(key, learnt, out);
                Some(0)
            }
            Body::Nothing => {
                out(Told::Ignored(Ignored::OtherEvent));
                Some(0)
            }
            Body::Flows(records) => Some(domain.tell(header, set, &records, walked.records, out)),
            Body::Options { records, boot_ms } => {
                domain.boot_ms = boot_ms.or(domain.boot_ms);
                // Where none could be read there is one at least.
                (0..records.max(1)).for_each(|_| out(Told::Ignored(Ignored::OtherEvent)));
                u32::try_from(records).ok()
            }
            Body::Unknown => {
                let kept = Kept { key: *key, id: set.id, header: *header, set: set.bytes.into() };
                let pushed_out = self.waiting.add(kept);
                (0..pushed_out).for_each(|_| out(Told::Refused(Refusal::NoTemplate)));
                None
            }
            Body::Bad => {
                (0..walked.records.max(1)).for_each(|_| out(Told::Refused(Refusal::BadDatagram)));
                u32::try_from(walked.records).ok().filter(|records| *records > 0)
            }
        }
    }

    /// Notes templates and reads what waited for them.
    fn learn(&mut self, key: &Key, learnt: Vec<(u16, Template)>, out: &mut dyn FnMut(Told)) {
        let ids: Vec<u16> = learnt.iter().map(|(id, _)| *id).collect();
        let Some(domain) = self.domains.get_mut(key) else { return };
        for (id, template) in learnt {
            self.fields += template.fields();
            let before = domain.templates.insert(id, template);
            self.fields -= before.map_or(0, |before| before.fields());
        }
        for kept in self.waiting.take(key, &ids) {
            if let Some(set) = Set::of(&kept.set) {
                self.read_set(key, &kept.header, set, out);
            }
        }
        self.make_room(key);
    }

    /// Makes sure that a domain is known, and forgets the one that was silent for longest if there are too many.
    fn meet(&mut self, key: Key) {
        if let Some(domain) = self.domains.get_mut(&key) {
            domain.used = self.datagrams;
            return;
        }
        if self.domains.len() >= DOMAINS_MAX {
            self.forget_silent(&key);
        }
        self.domains.insert(key, Domain::new(self.datagrams));
    }

    /// Keeps to the bounds on templates, which a domain has just grown.
    fn make_room(&mut self, key: &Key) {
        let is_full = self.domains.get(key).is_some_and(|domain| domain.templates.len() > TEMPLATES_MAX);
        if is_full {
            self.forget(key);
        }
        while self.fields > FIELDS_MAX && !self.domains.is_empty() {
            self.forget_silent(key);
        }
    }

    /// Forgets the domain that was silent for longest, and this one only if there is no other.
    fn forget_silent(&mut self, but: &Key) {
        let others = self.domains.iter().filter(|(key, _)| *key != but);
        let silent = others.min_by_key(|(_, domain)| domain.used).map_or(*but, |(key, _)| *key);
        self.forget(&silent);
    }

    fn forget(&mut self, key: &Key) {
        let Some(domain) = self.domains.remove(key) else { return };
        self.fields -= domain.templates.values().map(Template::fields).sum::<usize>();
        self.lost_of_forgotten.add(domain.lost(key.1));
    }
}

/// What is in a set.
enum Body {
    Templates(Vec<(u16, Template)>),
    Flows(Records),
    Options {
        records: usize,
        boot_ms: Option<u64>,
    },
    /// Records whose template is not known.
    Unknown,
    /// A set that means nothing to anybody.
    Nothing,
    Bad,
}

/// Records as the library gives them.
enum Records {
    V9(Vec<v9::V9FlowRecord>),
    Ipfix(Vec<ipfix::IPFixFlowRecord>),
}

impl Domain {
    fn new(used: u64) -> Domain {
        let parser = NetflowParser::builder()
            // One more than we let it have: it never forgets one that we know.
            .with_cache_size(TEMPLATES_MAX + 1)
            .with_max_field_count(TEMPLATE_FIELDS_MAX)
            .with_max_error_sample_size(1)
            // A set has no more bytes, and a record at least one.
            .with_max_records_per_flowset(wire::DATAGRAM_BYTES_MAX)
            .build()
            .expect("these limits are positive, and that is all that is asked of them");
        Domain { parser, templates: BTreeMap::new(), sequence: Sequence::default(), boot_ms: None, used }
    }

    fn lost(&self, version: Version) -> Lost {
        match version {
            Version::V9 => self.sequence.lost_datagrams(),
            Version::V5 | Version::Ipfix => self.sequence.lost_records(),
        }
    }

    /// Reads a datagram of one set.
    fn read(&mut self, alone: &[u8]) -> Body {
        match self.parser.parse_bytes(alone).packets.pop() {
            Some(NetflowPacket::V9(mut packet)) => {
                packet.flowsets.pop().map_or(Body::Bad, |set| body_of_v9(set.body))
            }
            Some(NetflowPacket::IPFix(mut packet)) => {
                packet.flowsets.pop().map_or(Body::Bad, |set| body_of_ipfix(set.body))
            }
            _ => Body::Bad,
        }
    }

    /// How the records of a template lie.
    fn layout(&self, id: u16) -> Option<&Layout> {
        match self.templates.get(&id)? {
            Template::Data(layout) => Some(layout),
            Template::Options(_) => None,
        }
    }

    /// What is in a set, if it is one of flows.
    fn walk(&self, set: Set<'_>) -> Walked {
        self.layout(set.id).map(|layout| layout.walk(set.body())).unwrap_or_default()
    }

    /// Tells of the records of a set, of which there are so many; how many there were.
    fn tell(
        &self,
        header: &Header,
        set: Set<'_>,
        records: &Records,
        count: usize,
        out: &mut dyn FnMut(Told),
    ) -> u32 {
        let Some(layout) = self.layout(set.id) else {
            // It is learnt with the library's; but if it were not, nothing would be lost in silence.
            out(Told::Refused(Refusal::NoTemplate));
            return 0;
        };
        let times = Times::of(header, self.boot_ms);
        match records {
            Records::V9(records) => tell_each(layout, records, count, times, out),
            Records::Ipfix(records) => tell_each(layout, records, count, times, out),
        }
    }
}

/// Tells of the records that could be read, and of those that could not.
fn tell_each<F>(
    layout: &Layout,
    records: &[Vec<(F, FieldValue)>],
    count: usize,
    times: Times,
    out: &mut dyn FnMut(Told),
) -> u32 {
    records.iter().for_each(|record| out(Told::Flow(Flow::of_record(layout, record, times))));
    (records.len()..count).for_each(|_| out(Told::Refused(Refusal::BadDatagram)));
    u32::try_from(count.max(records.len())).unwrap_or(0)
}

fn body_of_v9(body: v9::FlowSetBody) -> Body {
    match body {
        v9::FlowSetBody::Template(set) => Body::Templates(set.templates.iter().map(data_of_v9).collect()),
        v9::FlowSetBody::OptionsTemplate(set) => {
            Body::Templates(set.templates.iter().map(options_of_v9).collect())
        }
        v9::FlowSetBody::Data(data) => Body::Flows(Records::V9(data.fields)),
        v9::FlowSetBody::OptionsData(data) => Body::Options { records: data.fields.len(), boot_ms: None },
        v9::FlowSetBody::NoTemplate(_) => Body::Unknown,
        v9::FlowSetBody::Empty => Body::Nothing,
    }
}

fn body_of_ipfix(body: ipfix::FlowSetBody) -> Body {
    use ipfix::FlowSetBody as Set;
    match body {
        Set::Template(template) => Body::Templates(vec![data_of_ipfix(&template)]),
        Set::Templates(templates) => Body::Templates(templates.iter().map(data_of_ipfix).collect()),
        Set::V9Template(template) => Body::Templates(vec![data_of_v9(&template)]),
        Set::V9Templates(templates) => Body::Templates(templates.iter().map(data_of_v9).collect()),
        Set::OptionsTemplate(template) => Body::Templates(vec![options_of_ipfix(&template)]),
        Set::OptionsTemplates(templates) => Body::Templates(templates.iter().map(options_of_ipfix).collect()),
        Set::V9OptionsTemplate(template) => Body::Templates(vec![options_of_v9(&template)]),
        Set::V9OptionsTemplates(templates) => Body::Templates(templates.iter().map(options_of_v9).collect()),
        Set::Data(data) => Body::Flows(Records::Ipfix(data.fields)),
        Set::V9Data(data) => Body::Flows(Records::V9(data.fields)),
        Set::OptionsData(data) => Body::Options { records: data.fields.len(), boot_ms: boot(&data.fields) },
        Set::V9OptionsData(data) => Body::Options { records: data.fields.len(), boot_ms: None },
        Set::NoTemplate(_) => Body::Unknown,
        Set::Empty => Body::Nothing,
    }
}

/// When the exporter booted, if one of its options says it.
fn boot(records: &[Vec<ipfix::IPFixFieldPair>]) -> Option<u64> {
    use ipfix::lookup::{IANAIPFixField, IPFixField};
    let is_boot =
        |field: &IPFixField| matches!(field, IPFixField::IANA(IANAIPFixField::SystemInitTimeMilliseconds));
    records.iter().flatten().find(|(field, _)| is_boot(field)).and_then(|(_, value)| number(value))
}

fn data_of_v9(template: &v9::Template) -> (u16, Template) {
    (template.template_id, Template::Data(Layout::of_v9(template)))
}

fn options_of_v9(template: &v9::OptionsTemplate) -> (u16, Template) {
    (template.template_id, Template::Options(template.scope_fields.len() + template.option_fields.len()))
}

fn data_of_ipfix(template: &ipfix::Template) -> (u16, Template) {
    (template.template_id, Template::Data(Layout::of_ipfix(&template.fields)))
}

fn options_of_ipfix(template: &ipfix::OptionsTemplate) -> (u16, Template) {
    (template.template_id, Template::Options(template.fields.len()))
}
