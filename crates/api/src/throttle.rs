//! How often passwords may be tried, so that nobody guesses one and nobody is locked out by somebody who tries. Refuses to
//! hold: passwords, secrets of applications (256 random bits are not guessed), and who is waiting (`password`).
//!
//! Failures are counted for an account and the network that they come from: after a few, each costs a wait that doubles up
//! to a minute. An attacker with many networks is met by a count for the account alone, which never concerns networks from
//! which somebody signed in to it before. A quarter of an hour without a failure forgets.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::state::Millis;

/// Failures of one account from one network that cost nothing.
const FREE_FROM_ONE: u32 = 5;
/// Failures of one account from all networks together that cost nothing.
const FREE_FROM_ALL: u32 = 50;
/// Failures of all accounts from one network that cost nothing: whoever tries one password on everybody.
const FREE_FROM_NETWORK: u32 = 30;
/// The longest wait, in milliseconds.
const WAIT_MAX_MS: u64 = 60_000;
/// After how long without a failure they are forgotten, in milliseconds.
const FORGOTTEN_AFTER_MS: u64 = 15 * 60_000;
/// How long a network is known as one that somebody signed in from, in milliseconds.
const KNOWN_FOR_MS: u64 = 30 * 24 * 3_600_000;
/// Accounts and networks remembered at once.
const REMEMBERED_MAX: usize = 20_000;

/// Who is tried: a hash of what was typed, whether there is such an account or not.
pub(crate) type Account = [u8; 32];

/// Where it is tried from: an address of version 4, half an address of version 6.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Origin(IpAddr);

impl Origin {
    pub(crate) fn of(peer: Option<IpAddr>) -> Origin {
        // A listener for both versions hears callers of version 4 under addresses of version 6.
        Origin(match peer.map(|peer| peer.to_canonical()) {
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            Some(address) => address,
            None => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        })
    }

    /// All networks that one owner mostly has: of version 6 a /48, which is given out as a whole. It is none of its networks.
    pub(crate) fn site(self) -> Origin {
        Origin(match self.0 {
            IpAddr::V6(address) => {
                let [a, b, c, ..] = address.segments();
                // The host bits of a network are zero.
                IpAddr::V6(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 1))
            }
            address => address,
        })
    }
}

/// Failures of one kind.
#[derive(Clone, Copy, Default, Debug)]
struct Failures {
    count: u32,
    last_ms: u64,
    free_at_ms: u64,
}

impl Failures {
    fn wait_ms(&self, now: Millis) -> u64 {
        self.free_at_ms.saturating_sub(now.0)
    }

    fn add(&mut self, free: u32, now: Millis) {
        if now.0.saturating_sub(self.last_ms) > FORGOTTEN_AFTER_MS {
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        self.last_ms = now.0;
        if let Some(over) = self.count.checked_sub(free) {
            let wait = 1_000u64.checked_shl(over).unwrap_or(WAIT_MAX_MS).min(WAIT_MAX_MS);
            self.free_at_ms = now.0 + wait;
        }
    }

    /// The last one was none. What others have to wait for stays.
    fn take_one_back(&mut self) {
        self.count = self.count.saturating_sub(1);
    }

    fn is_forgotten(&self, now: Millis) -> bool {
        now.0.saturating_sub(self.last_ms) > FORGOTTEN_AFTER_MS
    }
}

/// One account as it is tried from one network.
#[derive(Clone, Copy, Default, Debug)]
struct Tried {
    failures: Failures,
    /// When somebody last signed in from there.
    succeeded_ms: Option<u64>,
}

impl Tried {
    fn is_known(&self, now: Millis) -> bool {
        self.succeeded_ms.is_some_and(|at| now.0.saturating_sub(at) < KNOWN_FOR_MS)
    }
}

#[derive(Default)]
struct Remembered {
    tried: HashMap<(Account, Origin), Tried>,
    accounts: HashMap<Account, Failures>,
    networks: HashMap<Origin, Failures>,
}

/// What is remembered, by the steady clock. A restart forgets it.
#[derive(Default)]
pub(crate) struct Throttle(
    // A std mutex: nothing is awaited while it is held.
    Mutex<Remembered>,
);

impl Throttle {
    fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a password may be tried now; else after how many seconds. It counts as a failure until it is known to be none,
    /// so that many at once are no more than many in a row.
    pub(crate) fn attempt(&self, account: &Account, from: Origin, now: Millis) -> Result<(), u64> {
        let mut remembered = self.remembered();
        let tried = remembered.tried.get(&(*account, from)).copied().unwrap_or_default();
        let overall = remembered.accounts.get(account).copied().unwrap_or_default();
        let network = remembered.networks.get(&from).copied().unwrap_or_default();
        let wait_of_all =
            if tried.is_known(now) { 0 } else { overall.wait_ms(now).max(network.wait_ms(now)) };
        let wait = tried.failures.wait_ms(now).max(wait_of_all);
        if wait > 0 {
            return Err(wait.div_ceil(1_000));
        }
        make_room(&mut remembered, now);
        remembered.tried.entry((*account, from)).or_default().failures.add(FREE_FROM_ONE, now);
        remembered.accounts.entry(*account).or_default().add(FREE_FROM_ALL, now);
        remembered.networks.entry(from).or_default().add(FREE_FROM_NETWORK, now);
        Ok(())
    }

    /// Somebody signed in: what they mistyped before counts no longer.
    pub(crate) fn succeeded(&self, account: &Account, from: Origin, now: Millis) {
        let mut remembered = self.remembered();
        take_back(&mut remembered, account, from);
        let tried = Tried { failures: Failures::default(), succeeded_ms: Some(now.0) };
        remembered.tried.insert((*account, from), tried);
    }

    /// The password was not looked at after all.
    pub(crate) fn not_tried(&self, account: &Account, from: Origin) {
        let mut remembered = self.remembered();
        take_back(&mut remembered, account, from);
        if let Some(tried) = remembered.tried.get_mut(&(*account, from)) {
            tried.failures.take_one_back();
        }
    }
}

fn take_back(remembered: &mut Remembered, account: &Account, from: Origin) {
    let of_account = remembered.accounts.get_mut(account);
    let of_network = remembered.networks.get_mut(&from);
    of_account.into_iter().chain(of_network).for_each(Failures::take_one_back);
}

/// Whoever fills this with made-up names forgets for everybody what is old, then what was tried less than what is free, and
/// never who signed in from where, as long as there is room for that.
fn make_room(remembered: &mut Remembered, now: Millis) {
    let Remembered { tried, accounts, networks } = remembered;
    if tried.len() >= REMEMBERED_MAX {
        tried.retain(|_, tried| !tried.failures.is_forgotten(now) || tried.is_known(now));
    }
    if tried.len() >= REMEMBERED_MAX {
        tried.retain(|_, tried| tried.failures.count >= FREE_FROM_ONE || tried.is_known(now));
    }
    if tried.len() >= REMEMBERED_MAX {
        tried.retain(|_, tried| tried.is_known(now));
    }
    if tried.len() >= REMEMBERED_MAX {
        tried.clear();
    }
    trim(accounts, FREE_FROM_ALL, now);
    trim(networks, FREE_FROM_NETWORK, now);
}

fn trim<K: Eq + std::hash::Hash>(all: &mut HashMap<K, Failures>, free: u32, now: Millis) {
    if all.len() >= REMEMBERED_MAX {
        all.retain(|_, failures| !failures.is_forgotten(now));
    }
    if all.len() >= REMEMBERED_MAX {
        all.retain(|_, failures| failures.count >= free);
    }
    if all.len() >= REMEMBERED_MAX {
        all.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIM: Account = [1; 32];
    const LEE: Account = [2; 32];

    fn from(last: u8) -> Origin {
        Origin::of(Some(IpAddr::from([192, 0, 2, last])))
    }

    #[test]
    fn a_few_failures_cost_nothing_and_more_cost_more() {
        let throttle = Throttle::default();
        let mut now = Millis(1_000_000);
        let mut waits = Vec::new();
        for _ in 0..14 {
            assert_eq!(throttle.attempt(&KIM, from(1), now), Ok(()));
            let failures = throttle.remembered().tried[&(KIM, from(1))].failures;
            let wait = failures.wait_ms(now).div_ceil(1_000);
            waits.push(wait);
            now = Millis(now.0 + wait * 1_000);
        }
        assert_eq!(waits, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        now = Millis(now.0 + FORGOTTEN_AFTER_MS + 1);
        for _ in 0..FREE_FROM_ONE {
            assert_eq!(throttle.attempt(&KIM, from(1), now), Ok(()));
        }
    }

    #[test]
    fn nobody_is_locked_out_by_another() {
        let throttle = Throttle::default();
        let now = Millis(1_000_000);
        throttle.attempt(&KIM, from(1), now).expect("the first");
        throttle.succeeded(&KIM, from(1), now);
        // An attacker with many networks, who tries each a few times.
        let tried = (2..=200).flat_map(|network| [network; 4]);
        let granted = tried.filter(|network| throttle.attempt(&KIM, from(*network), now).is_ok()).count();
        assert_eq!(granted, FREE_FROM_ALL as usize);
        assert!(throttle.attempt(&KIM, from(201), now).is_err(), "a new network waits");
        assert_eq!(throttle.attempt(&KIM, from(1), now), Ok(()), "where Kim signed in before");
        assert_eq!(throttle.attempt(&LEE, from(2), now), Ok(()), "somebody else");
    }

    #[test]
    fn whoever_signs_in_often_is_no_attacker() {
        let throttle = Throttle::default();
        for second in 0..500 {
            let (now, network) = (Millis(second * 1_000), from((second % 200) as u8));
            assert_eq!(throttle.attempt(&KIM, network, now), Ok(()), "{second}");
            throttle.succeeded(&KIM, network, now);
        }
    }

    #[test]
    fn half_an_address_of_version_6_is_one_network() {
        let of = |text: &str| Origin::of(Some(text.parse().expect("an address")));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("::ffff:192.0.2.1"), of("::ffff:192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    /// One password on everybody, from one network; whoever signed in from there before does not wait for that.
    #[test]
    fn one_network_does_not_try_everybody() {
        let throttle = Throttle::default();
        let now = Millis(1_000_000);
        throttle.attempt(&KIM, from(1), now).expect("the first");
        throttle.succeeded(&KIM, from(1), now);
        let account = |number: u8| [number; 32];
        let granted =
            (3..200).filter(|number| throttle.attempt(&account(*number), from(1), now).is_ok()).count();
        assert_eq!(granted, FREE_FROM_NETWORK as usize);
        assert_eq!(throttle.attempt(&KIM, from(1), now), Ok(()));
        assert_eq!(throttle.attempt(&LEE, from(2), now), Ok(()));
    }

    /// Made-up names do not make room for another five tries of a real one.
    #[test]
    fn what_was_tried_is_not_washed_away() {
        let throttle = Throttle::default();
        let now = Millis(1_000_000);
        for _ in 0..FREE_FROM_ONE {
            throttle.attempt(&KIM, from(1), now).expect("free");
        }
        for number in 0..REMEMBERED_MAX * 2 {
            let mut account = [9; 32];
            account[..8].copy_from_slice(&number.to_le_bytes());
            let network = Origin::of(Some(IpAddr::from((number as u32 + 0x0a00_0000).to_be_bytes())));
            throttle.attempt(&account, network, now).expect("the first of each");
        }
        assert!(throttle.attempt(&KIM, from(1), now).is_err());
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let throttle = Throttle::default();
        let account = |number: usize| {
            let mut account = [0; 32];
            account[..8].copy_from_slice(&number.to_le_bytes());
            account
        };
        for number in 0..REMEMBERED_MAX * 2 {
            let network = Origin::of(Some(IpAddr::from((number as u32).to_be_bytes())));
            throttle.attempt(&account(number), network, Millis(5)).expect("the first of each");
        }
        let remembered = throttle.remembered();
        assert!(remembered.tried.len() <= REMEMBERED_MAX && remembered.accounts.len() <= REMEMBERED_MAX);
    }
}
