//! How work that nobody waits for lets those go first who do: a thread that takes bulk in or writes segments has a lower priority
//! than one that answers. Refuses to hold: which threads those are.

/// Makes this thread one of those that let others go first, for as long as it lives; threads that it starts are likewise.
/// Elsewhere than on Linux priorities belong to the process, and nothing is done.
pub fn give_way() {
    // Who may not is as quick as everybody else.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// A tenth of the processor's time where others want all of it.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
