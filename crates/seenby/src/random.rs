//! Unpredictable bytes, all of them the system's. Refuses to hold: what they are for.

use std::cell::RefCell;

/// As many as a GUID has: every request has one.
const GUID: usize = 16;
/// How many are fetched where a GUID is asked for.
const FETCHED: usize = 1_024;

thread_local! {
    /// Bytes that were given to nobody yet.
    static FRESH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Fills `bytes`.
pub(crate) fn fill(bytes: &mut [u8]) {
    // Without them no secret can be made; stopping the request is all that is left.
    getrandom::fill(bytes).expect("the system gives random numbers");
}

/// Fills `bytes`. For a GUID the system is asked once for many. Nonces and secrets have other lengths, and no byte of one lies here
/// before: a copy of this machine, memory included, would use it a second time.
pub(crate) fn fill_often(bytes: &mut [u8]) {
    if bytes.len() != GUID {
        return fill(bytes);
    }
    FRESH.with_borrow_mut(|fresh| {
        if fresh.is_empty() {
            let mut fetched = [0; FETCHED];
            // Nothing lies in `fresh` that the system did not give, whatever becomes of this thread.
            fill(&mut fetched);
            fresh.extend_from_slice(&fetched);
        }
        let left = fresh.len() - GUID;
        bytes.copy_from_slice(&fresh[left..]);
        fresh.truncate(left);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn nothing_comes_twice() {
        let mut given = HashSet::new();
        for length in [16, 16, 8, 32].into_iter().cycle().take(1_000) {
            let mut bytes = [0; 32];
            fill_often(&mut bytes[..length]);
            assert!(bytes[..8] != [0; 8]);
            let of_first: [u8; 8] = bytes[..8].try_into().expect("eight");
            assert!(given.insert(of_first), "{bytes:?}");
        }
    }
}
