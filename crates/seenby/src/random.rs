//! Unpredictable bytes, all of them the system's. Refuses to hold: what they are for.

use std::cell::RefCell;

/// As many as a GUID has: every request has one.
const FEW: usize = 16;
/// How many are fetched where few are asked for.
const FETCHED: usize = 1_024;

thread_local! {
    /// Bytes that were given to nobody yet.
    static FRESH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Fills `bytes`. Where few are asked for, as ids are, the system is asked once for many; secrets are longer, and no byte of one
/// lies here before.
pub(crate) fn fill(bytes: &mut [u8]) {
    if bytes.len() > FEW {
        return fetch(bytes);
    }
    FRESH.with_borrow_mut(|fresh| {
        if fresh.len() < bytes.len() {
            fresh.resize(FETCHED, 0);
            fetch(fresh);
        }
        let left = fresh.len() - bytes.len();
        bytes.copy_from_slice(&fresh[left..]);
        fresh.truncate(left);
    });
}

fn fetch(bytes: &mut [u8]) {
    // Without them no secret can be made; stopping the request is all that is left.
    getrandom::fill(bytes).expect("the system gives random numbers");
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
            fill(&mut bytes[..length]);
            assert!(bytes[..8] != [0; 8]);
            let of_first: [u8; 8] = bytes[..8].try_into().expect("eight");
            assert!(given.insert(of_first), "{bytes:?}");
        }
    }
}
