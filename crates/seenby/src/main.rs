//! `seenby`: how many of our devices opened a connection to this address, first, last. Reads the command line, runs
//! the one command it names and turns the outcome into an exit code. Refuses to hold: anything a command does.

mod authority;
mod certificate;
mod cli;
mod clock;
mod commands;
mod control;
mod defang;
mod exit;
mod figures;
mod hint;
mod house;
mod ingest;
mod issuers;
mod outgoing;
mod output;
mod pair;
mod password;
mod random;
mod receive;
mod sealing;
mod settings;
mod sources;
mod store;
mod told;

/// See docs/decisions/0013-allocator.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

use std::process::ExitCode;

fn main() -> ExitCode {
    // Whatever this program makes is its user's alone: the data folder, its files, the control socket.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    raise_open_files_max();
    let cli = match cli::read() {
        Ok(cli) => cli,
        Err(error) => return cli::answer(&error),
    };
    hint::remember(&cli.global);
    match commands::run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) if failure.is_broken_pipe() => exit::Exit::Done.into(),
        Err(failure) => {
            output::complain(&format!("{:#}", failure.cause));
            failure.exit.into()
        }
    }
}

/// Every connection is an open file, and so are hundreds of segments; the usual soft limit of 1,024 is for programs that
/// use `select`.
fn raise_open_files_max() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it is refused, opening a file will say so.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}
