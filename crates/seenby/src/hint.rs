//! Commands in messages, written so that they can be pasted as they are: the program as it was called, and with it the
//! data folder, settings file and organisation that were in force. Refuses to hold: which command a message advises.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::cli::Global;

/// How this process was called. Like the command line itself it is the process's and never changes, so messages need
/// not be handed it.
static CALLED: OnceLock<Called> = OnceLock::new();

/// What a pasted command needs to mean the same.
#[derive(Default, Debug)]
struct Called {
    program: Option<OsString>,
    data_dir: Option<PathBuf>,
    settings: Option<PathBuf>,
    organisation: Option<String>,
}

/// Remembers the command line, once, before any message is written.
pub(crate) fn remember(global: &Global) {
    let called = Called {
        program: std::env::args_os().next(),
        data_dir: global.data_dir.as_deref().map(absolute),
        settings: global.settings.as_deref().map(absolute),
        organisation: global.organisation.clone(),
    };
    // A second call would be one of a test.
    let _ = CALLED.set(called);
}

/// A command of this program to advise: `org add NAME`.
pub(crate) fn run(arguments: impl Into<String>) -> Hint {
    let called = CALLED.get();
    Hint {
        arguments: arguments.into(),
        data_dir: called.and_then(|called| called.data_dir.clone()),
        organisation: called.and_then(|called| called.organisation.clone()),
    }
}

/// A command line. Its text is for a shell.
#[derive(Debug)]
pub(crate) struct Hint {
    arguments: String,
    data_dir: Option<PathBuf>,
    organisation: Option<String>,
}

impl Hint {
    /// On this folder, whatever was in force.
    pub(crate) fn on(self, folder: &Path) -> Hint {
        Hint { data_dir: Some(absolute(folder)), ..self }
    }

    /// About this organisation, whatever was in force.
    pub(crate) fn about(self, organisation: impl Into<String>) -> Hint {
        Hint { organisation: Some(organisation.into()), ..self }
    }

    /// About no organisation.
    pub(crate) fn about_none(self) -> Hint {
        Hint { organisation: None, ..self }
    }
}

impl fmt::Display for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let called = CALLED.get();
        write!(f, "{} {}", program(called.and_then(|called| called.program.as_deref())), self.arguments)?;
        if let Some(folder) = &self.data_dir {
            write!(f, " --data-dir {}", quote(folder))?;
        }
        if let Some(file) = called.and_then(|called| called.settings.as_deref()) {
            write!(f, " --settings {}", quote(file))?;
        }
        if let Some(organisation) = &self.organisation {
            write!(f, " --organisation {}", quote(organisation))?;
        }
        Ok(())
    }
}

/// The program as it was called: by its name where the shell found it, else by a path that holds from anywhere.
fn program(called: Option<&OsStr>) -> String {
    match called {
        Some(path) if path.as_bytes().contains(&b'/') => quote(absolute(Path::new(path))),
        Some(name) if !name.is_empty() => quote(name),
        _ => "seenby".to_owned(),
    }
}

/// A path that holds from any folder. Where the working folder is gone, no path does.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// One word of a shell. What is dangerous on a terminal is written as `$'\x..'`, which bash, zsh and ksh read.
pub(crate) fn quote(word: impl AsRef<OsStr>) -> String {
    let bytes = word.as_ref().as_bytes();
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:=@%+,#".contains(byte);
    let text = std::str::from_utf8(bytes).ok();
    match text {
        Some(text) if !text.is_empty() && !text.starts_with('#') && bytes.iter().all(is_plain) => {
            text.to_owned()
        }
        Some(text) if sighting::escape(text) == text => format!("'{}'", text.replace('\'', r"'\''")),
        _ => {
            let spelled = |byte: &u8| match byte {
                b' ' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/' => {
                    char::from(*byte).to_string()
                }
                _ => format!("\\x{byte:02x}"),
            };
            format!("$'{}'", bytes.iter().map(spelled).collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_shell() {
        for (word, quoted) in [
            ("/srv/seenby-1", "/srv/seenby-1"),
            ("", "''"),
            ("#1", "'#1'"),
            ("Con toso", "'Con toso'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("пример", "'пример'"),
            ("a\u{1b}]0;x\u{202e}'", r"$'a\x1b\x5d0\x3bx\xe2\x80\xae\x27'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
        assert_eq!(quote(OsStr::from_bytes(b"a\xff")), r"$'a\xff'");
    }

    #[test]
    fn the_program_as_called() {
        assert_eq!(program(None), "seenby");
        assert_eq!(program(Some(OsStr::new("seenby"))), "seenby");
        assert_eq!(program(Some(OsStr::new("/opt/see by"))), "'/opt/see by'");
        assert!(program(Some(OsStr::new("target/seenby"))).starts_with('/'));
    }
}
