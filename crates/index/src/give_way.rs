//! How work that nobody waits for lets those go first who do: a thread that takes bulk in or writes segments has a lower priority
//! than one that answers. Refuses to hold: which threads those are.

/// Makes this thread one of those that let others go first, for as long as it lives; threads that it starts are likewise.
///
/// Elsewhere than on Linux priorities belong to the process, and nothing is done. Linux compares the threads of one control
/// group only: between a command of a login and a server that is a service of its own, their groups' shares decide.
pub fn give_way() {
    // Who may not is as quick as everybody else.
    #[cfg(target_os = "linux")]
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, nice.saturating_add(NICER).min(NICEST));
    }
}

/// A tenth of the processor's time where others want all of it.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;
#[cfg(target_os = "linux")]
const NICEST: i32 = 19;
