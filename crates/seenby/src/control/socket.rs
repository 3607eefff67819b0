//! Where the control socket lies, and how to reach it when its path is longer than a socket address may be.
//! Refuses to hold: what is said over it.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// The socket's name in the data folder.
const SOCKET_NAME: &str = "seenby.sock";

/// The longest path given to the system as it is, in bytes: the shortest `sun_path` of the systems we run on is
/// 104 with its end mark.
const PATH_BYTES_MAX: usize = 100;

/// The socket's path as a socket address may hold it: a long one goes through an open descriptor of the folder.
/// The returned file keeps that descriptor alive and must outlive the use of the path.
fn reachable(folder: &Path) -> io::Result<(PathBuf, Option<File>)> {
    let path = folder.join(SOCKET_NAME);
    if path.as_os_str().len() <= PATH_BYTES_MAX {
        return Ok((path, None));
    }
    let opened = File::open(folder)?;
    let through = format!("/proc/self/fd/{}/{SOCKET_NAME}", opened.as_raw_fd());
    Ok((PathBuf::from(through), Some(opened)))
}

/// Connects to the server that holds a folder. Connecting, and writing until that limit is changed, wait at most so
/// long: callers queue up in front of a process that was stopped, and the queue has an end.
pub(super) fn connect(folder: &Path, wait_max: Duration) -> io::Result<UnixStream> {
    let (path, _folder) = reachable(folder)?;
    let socket = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(wait_max))?;
    net::connect(&socket, &SocketAddrUnix::new(&path)?)?;
    Ok(UnixStream::from(socket))
}

/// Binds the socket of a folder whose lock the caller holds; whatever an earlier server left behind is replaced.
pub(super) fn bind(folder: &Path) -> io::Result<UnixListener> {
    let (path, _folder) = reachable(folder)?;
    remove(folder)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(folder.join(SOCKET_NAME), Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Removes the socket of a folder whose lock the caller holds.
pub(super) fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_file(folder.join(SOCKET_NAME)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
