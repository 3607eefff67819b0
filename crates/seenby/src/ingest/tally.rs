//! The counts of an ingest: every record once, as sighted, ignored (why) or refused (why, and where). Refuses to
//! hold: how they are shown.

use std::collections::BTreeMap;

use formats::Warning;

/// Refused records of each input that are remembered with their place, to be shown.
const REFUSED_SHOWN_MAX: usize = 5;

/// What became of the records.
#[derive(Clone, Default, Debug)]
pub(crate) struct Tally {
    /// Connections that a device of ours opened, in the store.
    pub(crate) sighted: u64,
    /// Sound records that are no sightings, by reason.
    pub(crate) ignored: BTreeMap<&'static str, u64>,
    /// Records that could not be taken, by reason.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// The inputs with refused records, by their place in the order of reading.
    pub(crate) refused_in: BTreeMap<usize, RefusedIn>,
    /// What was odd about records that were taken, by kind and by the input's place in the order of reading.
    pub(crate) warned_in: BTreeMap<(Warning, usize), WarnedIn>,
    /// Whole inputs about which the operator should know something, in a sentence each.
    pub(crate) notes: Vec<String>,
    /// Inputs read.
    pub(crate) inputs: u64,
}

/// Records of one input that were odd and taken all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct WarnedIn {
    /// The input's name, unescaped.
    pub(crate) name: String,
    /// How many.
    pub(crate) records: u64,
    /// The line of the first.
    pub(crate) first_line: u64,
}

/// What was refused of one input.
#[derive(Clone, Default, Debug)]
pub(crate) struct RefusedIn {
    /// The input's name, unescaped.
    pub(crate) name: String,
    /// Refused records.
    pub(crate) records: u64,
    /// The first of them, by line.
    pub(crate) first: Vec<RefusedRecord>,
    /// Nothing of the input was taken or ignored but headers and blank lines.
    pub(crate) is_all: bool,
}

/// Where a record was refused and why.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RefusedRecord {
    /// The line it starts on; 1 is the first.
    pub(crate) line: u64,
    /// The reason for a person.
    pub(crate) reason: String,
}

impl RefusedIn {
    /// Remembers a record if it is among the first; its reason is only made if it is.
    fn remember(&mut self, line: u64, reason: impl FnOnce() -> String) {
        if self.first.len() >= REFUSED_SHOWN_MAX && self.first.last().is_some_and(|last| last.line <= line) {
            return;
        }
        let record = RefusedRecord { line, reason: reason() };
        let at = self.first.partition_point(|known| *known < record);
        self.first.insert(at, record);
        self.first.truncate(REFUSED_SHOWN_MAX);
    }
}

impl Tally {
    /// Counts an ignored record.
    pub(crate) fn ignore(&mut self, code: &'static str) {
        *self.ignored.entry(code).or_default() += 1;
    }

    /// Counts a refused record of an input.
    pub(crate) fn refuse(
        &mut self,
        code: &'static str,
        (input, name): (usize, &str),
        line: u64,
        reason: impl FnOnce() -> String,
    ) {
        *self.refused.entry(code).or_default() += 1;
        let refused = self.refused_in.entry(input).or_default();
        if refused.name.is_empty() {
            name.clone_into(&mut refused.name);
        }
        refused.records += 1;
        refused.remember(line, reason);
    }

    /// Counts an odd record of an input.
    pub(crate) fn warn(&mut self, warning: Warning, (input, name): (usize, &str), line: u64) {
        let known = self.warned_in.entry((warning, input)).or_insert_with(|| WarnedIn {
            name: name.to_owned(),
            records: 0,
            first_line: line,
        });
        known.records += 1;
        known.first_line = known.first_line.min(line);
    }

    /// Adds another part of the same ingest.
    pub(crate) fn merge(&mut self, other: Tally) {
        self.sighted += other.sighted;
        for (code, count) in other.ignored {
            *self.ignored.entry(code).or_default() += count;
        }
        for (code, count) in other.refused {
            *self.refused.entry(code).or_default() += count;
        }
        for (input, part) in other.refused_in {
            let refused = self.refused_in.entry(input).or_default();
            refused.name = part.name;
            refused.records += part.records;
            for record in part.first {
                refused.remember(record.line, || record.reason);
            }
        }
        for ((warning, input), part) in other.warned_in {
            let known = self.warned_in.entry((warning, input)).or_insert_with(|| WarnedIn {
                name: part.name,
                records: 0,
                first_line: part.first_line,
            });
            known.records += part.records;
            known.first_line = known.first_line.min(part.first_line);
        }
        self.notes.extend(other.notes);
        self.inputs += other.inputs;
    }

    /// Every record.
    pub(crate) fn lines(&self) -> u64 {
        self.sighted + self.ignored.values().sum::<u64>() + self.refused_total()
    }

    /// Every refused record.
    pub(crate) fn refused_total(&self) -> u64 {
        self.refused.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refuse(tally: &mut Tally, input: usize, line: u64) {
        tally.refuse("bad_time", (input, "a file"), line, || "bad".to_owned());
    }

    #[test]
    fn parts_add_up_and_the_first_refused_are_remembered() {
        let (mut one, mut other) = (Tally::default(), Tally::default());
        for line in (1..=40).rev() {
            refuse(if line % 2 == 0 { &mut one } else { &mut other }, 0, line);
        }
        refuse(&mut other, 1, 1);
        one.ignore("blank");
        one.sighted = 2;
        one.merge(other);
        assert_eq!(one.lines(), 44);
        assert_eq!(one.refused["bad_time"], 41);
        let lines =
            |input: usize| -> Vec<u64> { one.refused_in[&input].first.iter().map(|it| it.line).collect() };
        assert_eq!(lines(0), (1..=5).collect::<Vec<u64>>());
        assert_eq!((lines(1), one.refused_in[&0].records), (vec![1], 40));
    }
}
