//! What never arrived, as the sequence numbers of a domain tell it. Refuses to hold: which records those were.

/// A gap that is wider is none: the exporter began to count anew.
const GAP_MAX: u32 = 1 << 20;
/// So far behind a datagram may be that others overtook on their way.
const LATE_MAX: u32 = 1_000;

/// What is known to be missing, counted in what the protocol counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// Records of NetFlow 5 and IPFIX.
    pub records: u64,
    /// Datagrams of NetFlow 9, which does not number its records.
    pub datagrams: u64,
    /// Times that an exporter began to count anew; what was lost around them is not known.
    pub restarts: u64,
}

impl Lost {
    pub(super) fn add(&mut self, other: Lost) {
        self.records += other.records;
        self.datagrams += other.datagrams;
        self.restarts += other.restarts;
    }
}

/// The sequence of one domain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sequence {
    /// The number of the next datagram, if the last one told it.
    next: Option<u32>,
    missing: u64,
    restarts: u64,
}

impl Sequence {
    /// A datagram with this number came, which holds so many of what is counted; none if that is not known.
    pub(super) fn came(&mut self, number: u32, counts: Option<u32>) {
        let next = counts.map(|counts| number.wrapping_add(counts));
        let Some(expected) = self.next else {
            self.next = next;
            return;
        };
        let (ahead, behind) = (number.wrapping_sub(expected), expected.wrapping_sub(number));
        match () {
            () if ahead <= GAP_MAX => self.missing += u64::from(ahead),
            // It was missed when the others came.
            () if behind <= LATE_MAX => {
                self.missing = self.missing.saturating_sub(u64::from(counts.unwrap_or(0)));
                return;
            }
            () => self.restarts += 1,
        }
        self.next = next;
    }

    /// What is missing, where the numbers count records.
    pub(super) fn lost_records(&self) -> Lost {
        Lost { records: self.missing, datagrams: 0, restarts: self.restarts }
    }

    /// What is missing, where the numbers count datagrams.
    pub(super) fn lost_datagrams(&self) -> Lost {
        Lost { records: 0, datagrams: self.missing, restarts: self.restarts }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(came: &[(u32, Option<u32>)], missing: u64, restarts: u64) {
        let mut sequence = Sequence::default();
        for (number, counts) in came {
            sequence.came(*number, *counts);
        }
        assert_eq!((sequence.missing, sequence.restarts), (missing, restarts), "{came:?}");
    }

    #[test]
    fn gaps_are_counted() {
        let one = Some(1);
        check(&[(7, one), (8, one), (9, one)], 0, 0);
        check(&[(7, one), (11, one)], 3, 0);
        check(&[(0, Some(30)), (30, Some(5)), (45, Some(1))], 10, 0);
        check(&[(u32::MAX, one), (0, one), (3, one)], 2, 0);
        check(&[(7, one), (10, one), (8, one), (9, one), (11, one)], 0, 0);
        check(&[(5_000_000, one), (1, one), (2, one)], 0, 1);
        check(&[(5, None), (900, one), (901, one)], 0, 0);
    }
}
