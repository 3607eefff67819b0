//! How granted calls outlive the process: pages for the directory, and what pages of before mean now. Refuses to hold: who
//! keeps pages (the directory), when one is written (the binary), and counting (`limits`).
//!
//! Each page has what was granted since the one before it, so a page is small, and what is written never grows with what
//! was written before. When the pages together hold twice what still counts, all that counts is written as one whole page
//! and the others go.
//!
//! **A moment of before, now.** A process that reads the same steady clock (one boot of one machine) knows exactly how long ago
//! a page was written, whatever was done to the wall clock. Any other has only the wall clock: if that stands before the
//! page it was set back, and no time has passed as far as anybody can tell, so that what was granted counts as long as it
//! would have. It is never taken to be earlier than it was, unless somebody sets the wall clock forward while the machine
//! restarts, which nothing can tell from a machine that was off.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sighting::{Extent, GrantPage, Granted, Uuid};

use crate::limits::{Collected, Limiter, Quota, moment};
use crate::state::Millis;

/// Pages may hold so much more than what counts before they are written anew. Some 100 kB; a guess.
const SLACK: usize = 20_000;
/// What an application weighs in a page, in grants: its two ids.
const APPLICATION_WEIGHT: usize = 10;

/// Both clocks, read at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Clocks {
    /// Which steady clock it is.
    pub(crate) id: Uuid,
    pub(crate) steady: Millis,
    pub(crate) wall: Millis,
}

/// What of a limiter is in pages.
#[derive(Default)]
pub(crate) struct Recall {
    /// Held from the collecting of a page until it is known to be kept: pages must not overtake one another.
    pub(crate) turn: tokio::sync::Mutex<()>,
    // A std mutex: nothing is awaited while it is held.
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// The next page must be a whole one: what is kept is of another process, or it is not known what is.
    whole_is_due: bool,
    /// What the pages hold together.
    weight: usize,
    /// Grants that were collected and are not known to be kept.
    on_the_way: usize,
}

impl Recall {
    /// The next page, if there is anything to write. Until [`Recall::kept`] it is taken not to have been.
    pub(crate) fn next_page(&self, limiter: &Limiter, clocks: impl FnOnce() -> Clocks) -> Option<GrantPage> {
        let mut kept = self.kept_now();
        let before = limiter.remembered();
        let counts = before.grants + before.applications * APPLICATION_WEIGHT;
        if before.uncollected == 0 && !kept.whole_is_due {
            return None;
        }
        let (extent, collected) = if kept.whole_is_due || kept.weight > 2 * counts + SLACK {
            (Extent::Whole, limiter.collect_all())
        } else {
            (Extent::Further, limiter.collect_further())
        };
        // Read after the grants were made: an age is never negative.
        let page = page(extent, &collected, clocks());
        let grants = collected.iter().map(|(_, moments)| moments.len()).sum::<usize>();
        kept.on_the_way = match extent {
            Extent::Whole => grants,
            Extent::Further => kept.on_the_way + grants,
        };
        kept.whole_is_due = true;
        Some(page)
    }

    /// The page that was made last is kept.
    pub(crate) fn kept(&self, extent: Extent, weight: usize) {
        let mut kept = self.kept_now();
        kept.weight = match extent {
            Extent::Whole => weight,
            Extent::Further => kept.weight + weight,
        };
        kept.whole_is_due = false;
        kept.on_the_way = 0;
    }

    /// How many grants a crash would forget now.
    pub(crate) fn not_kept(&self, limiter: &Limiter) -> usize {
        self.kept_now().on_the_way + limiter.remembered().uncollected
    }

    /// Takes up what pages of before hold, the oldest first. They are replaced by the next page.
    pub(crate) fn take_up(&self, limiter: &Limiter, pages: &[GrantPage], clocks: Clocks) {
        let Some(last) = pages.last() else { return };
        let since_last = elapsed(last, clocks);
        let at_last = Clocks { id: last.clock, steady: Millis(last.steady_ms), wall: Millis(last.wall_ms) };
        let now = moment(clocks.steady);
        for page in pages {
            let since = since_last.saturating_add(elapsed(page, at_last));
            for granted in &page.granted {
                let ages = granted.ages_ms.iter().map(|age| age.saturating_add(since));
                let counting = ages.filter(|age| *age < Quota::Hour.span_ms());
                limiter.put((granted.organisation, granted.application), counting.map(|age| now - age));
            }
        }
        self.kept_now().whole_is_due = true;
    }

    fn kept_now(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long ago a page was written, as far as the clocks tell.
fn elapsed(page: &GrantPage, now: Clocks) -> u64 {
    match now.steady.0.checked_sub(page.steady_ms) {
        Some(elapsed) if page.clock == now.id => elapsed,
        _ => now.wall.0.saturating_sub(page.wall_ms),
    }
}

fn page(extent: Extent, collected: &Collected, clocks: Clocks) -> GrantPage {
    let now = moment(clocks.steady);
    let granted = collected.iter().map(|((organisation, application), moments)| {
        let ages = moments.iter().map(|moment| now.saturating_sub(*moment));
        let ages_ms = ages.filter(|age| *age < Quota::Hour.span_ms()).collect();
        Granted { organisation: *organisation, application: *application, ages_ms }
    });
    GrantPage {
        extent,
        clock: clocks.id,
        steady_ms: clocks.steady.0,
        wall_ms: clocks.wall.0,
        granted: granted.filter(|granted| !granted.ages_ms.is_empty()).collect(),
    }
}

/// What a page adds to what is kept.
pub(crate) fn weight(page: &GrantPage) -> usize {
    page.granted.iter().map(|granted| granted.ages_ms.len() + APPLICATION_WEIGHT).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sighting::{ApplicationId, OrganisationId};

    use super::*;
    use crate::limits::Standing;
    use crate::settings::Limits;

    const ORGANISATION: OrganisationId = OrganisationId(Uuid::nil());
    const LIMITS: Limits = Limits { per_minute: Some(10), per_hour: Some(30) };

    fn application(number: u128) -> ApplicationId {
        ApplicationId(Uuid::from_u128(number))
    }

    /// A process: its limiter, and a disk that outlives it.
    struct Server<'a> {
        limiter: Limiter,
        recall: Recall,
        disk: &'a mut Vec<GrantPage>,
        clocks: Clocks,
    }

    fn clocks(id: u128, steady: u64, wall: u64) -> Clocks {
        Clocks { id: Uuid::from_u128(id), steady: Millis(steady), wall: Millis(wall) }
    }

    impl Server<'_> {
        fn start(disk: &mut Vec<GrantPage>, clocks: Clocks) -> Server<'_> {
            let (limiter, recall) = (Limiter::default(), Recall::default());
            recall.take_up(&limiter, disk, clocks);
            Server { limiter, recall, disk, clocks }
        }

        fn pass(&mut self, ms: u64) {
            self.clocks.steady.0 += ms;
            self.clocks.wall.0 += ms;
        }

        fn takes(&self, number: u128) -> bool {
            let now = self.clocks.steady;
            self.limiter.take(ORGANISATION, application(number), LIMITS, now).granted.is_ok()
        }

        fn standing(&self, number: u128) -> Standing {
            self.limiter.standing(ORGANISATION, application(number), LIMITS, self.clocks.steady)
        }

        fn keep(&mut self) -> Option<Extent> {
            let page = self.recall.next_page(&self.limiter, || self.clocks)?;
            let extent = page.extent;
            if extent == Extent::Whole {
                self.disk.clear();
            }
            self.recall.kept(extent, weight(&page));
            self.disk.push(page);
            Some(extent)
        }
    }

    /// What happens between two calls.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Passes(u64),
        Kept,
        Fails,
        /// An orderly restart of the program, which takes some time, while somebody sets the wall clock.
        Restart(u64, i64),
        /// The same of the machine; nobody sets the clock.
        Reboot(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            6 => (0..9_000u64).prop_map(Event::Passes),
            1 => (0..900_000u64).prop_map(Event::Passes),
            2 => Just(Event::Kept),
            1 => Just(Event::Fails),
            1 => (0..90_000u64, -10_000_000..10_000_000i64).prop_map(|(ms, set)| Event::Restart(ms, set)),
            1 => (0..90_000u64).prop_map(Event::Reboot),
        ]
    }

    proptest! {
        /// A limiter that is restarted again and again says what one says that never was.
        #[test]
        fn a_restart_changes_nothing(events in prop::collection::vec((event(), 1..3u128), 1..300)) {
            let (mut undisturbed, mut disk) = (Vec::new(), Vec::new());
            let begin = clocks(1, 5_000, 1_700_000_000_000);
            let mut undisturbed = Server::start(&mut undisturbed, begin);
            let mut server = Server::start(&mut disk, begin);
            let mut boots = 1;
            for (event, number) in events {
                match event {
                    Event::Passes(ms) => {
                        undisturbed.pass(ms);
                        server.pass(ms);
                    }
                    Event::Kept => drop(server.keep()),
                    // A page that was made and never arrives.
                    Event::Fails => drop(server.recall.next_page(&server.limiter, || server.clocks)),
                    Event::Restart(ms, set) => {
                        server.keep();
                        server.pass(ms);
                        undisturbed.pass(ms);
                        let mut clocks = server.clocks;
                        clocks.wall.0 = clocks.wall.0.saturating_add_signed(set);
                        let Server { disk, .. } = server;
                        server = Server::start(disk, clocks);
                    }
                    Event::Reboot(ms) => {
                        server.keep();
                        server.pass(ms);
                        undisturbed.pass(ms);
                        boots += 1;
                        let clocks = clocks(boots, 7, server.clocks.wall.0);
                        let Server { disk, .. } = server;
                        server = Server::start(disk, clocks);
                    }
                }
                prop_assert_eq!(server.standing(number), undisturbed.standing(number));
                prop_assert_eq!(server.takes(number), undisturbed.takes(number));
            }
        }
    }

    /// At another boot only the wall clock is left. Set back, it makes nothing older than it is.
    #[test]
    fn a_wall_clock_that_was_set_back_gives_no_calls() {
        let mut disk = Vec::new();
        let mut server = Server::start(&mut disk, clocks(1, 0, 1_700_000_000_000));
        assert!((0..10).all(|_| server.takes(1)));
        server.pass(20_000);
        server.keep();
        drop(server);
        let mut server = Server::start(&mut disk, clocks(2, 3, 1_600_000_000_000));
        assert_eq!(server.standing(1).minute.expect("a limit").more_after_s, Some(40));
        server.pass(39_999);
        assert!(!server.takes(1));
        server.pass(1);
        assert!(server.takes(1));
        // Nor does it hold them back longer than once: what was taken up is written down by the clock of now.
        server.keep();
        drop(server);
        let server = Server::start(&mut disk, clocks(2, 100_003, 1_600_000_100_000));
        assert_eq!(server.standing(1).hour.expect("a limit").used, 11);
        assert_eq!(server.standing(1).minute.expect("a limit").used, 0);
    }

    /// A kill forgets what was granted since the last page, and nothing else.
    #[test]
    fn a_kill_forgets_what_no_page_has() {
        let mut disk = Vec::new();
        let mut server = Server::start(&mut disk, clocks(1, 0, 0));
        assert!(server.takes(1) && server.takes(1));
        server.keep();
        assert!(server.takes(1) && server.takes(2));
        assert_eq!(server.recall.not_kept(&server.limiter), 2);
        server.keep();
        assert_eq!(server.recall.not_kept(&server.limiter), 0);
        assert!(server.takes(1));
        drop(server);
        let server = Server::start(&mut disk, clocks(1, 10, 10));
        let used = |number| server.standing(number).minute.expect("a limit").used;
        assert_eq!((used(1), used(2), used(3)), (3, 1, 0));
    }

    /// Pages are small, and all of them together hold little more than what counts.
    #[test]
    fn pages_do_not_pile_up() {
        let mut disk = Vec::new();
        let mut server = Server::start(&mut disk, clocks(1, 0, 0));
        let (mut whole, mut heaviest) = (0, 0);
        for _ in 0..20_000 {
            server.pass(800);
            for number in 0..20 {
                let _ =
                    server.limiter.take(ORGANISATION, application(number), Limits::OFF, server.clocks.steady);
            }
            whole += u32::from(server.keep() == Some(Extent::Whole));
            heaviest = heaviest.max(server.disk.iter().map(weight).sum::<usize>());
        }
        let counts = 20 * (1_500 + APPLICATION_WEIGHT);
        assert!(heaviest <= 2 * counts + SLACK + 20 * (1 + APPLICATION_WEIGHT), "{heaviest}");
        assert!((1..200).contains(&whole), "{whole}");
        assert_eq!(server.keep(), None, "nothing new is not written");
    }

    #[test]
    fn thousands_of_applications_are_taken_up() {
        let mut disk = Vec::new();
        let mut server = Server::start(&mut disk, clocks(1, 0, 0));
        for number in 0..5_000 {
            assert!((0..=number % 9).all(|_| server.takes(number)));
            if number % 100 == 0 {
                server.pass(1);
                server.keep();
            }
        }
        server.keep();
        drop(server);
        let server = Server::start(&mut disk, clocks(1, 1_000, 0));
        for number in 0..5_000 {
            let used = server.standing(number).hour.expect("a limit").used;
            assert_eq!(u128::from(used), number % 9 + 1, "{number}");
        }
    }
}
