//! The floor: the same bytes over the same way, TCP and then a Unix socket, with nobody looking at them.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use crate::{
    Trouble,
    roles::{Account, Load, now},
};

/// Bytes that are written at once.
const CHUNK: usize = 256 * 1024;

/// Connects to `to` and writes the load's bytes.
pub fn send(to: &str, load: Load) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(to)?;
    let chunk = vec![b'.'; CHUNK];
    let mut left = load.records as usize * load.size;
    while left > 0 {
        let part = left.min(CHUNK);
        stream.write_all(&chunk[..part])?;
        left -= part;
    }
    Ok(())
}

/// Prints where it listens, and passes what comes from the first that connects on to the socket at `to`: by `splice`, or
/// by reading and writing.
pub fn relay(to: &Path, by_splice: bool) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?);
    let (mut from, _) = listener.accept()?;
    let mut to = UnixStream::connect(to)?;
    if !by_splice {
        let mut buffer = vec![0; CHUNK];
        loop {
            match from.read(&mut buffer)? {
                0 => return Ok(()),
                read => to.write_all(&buffer[..read])?,
            }
        }
    }
    let (output, input) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setpipe_size(&input, CHUNK)?;
    loop {
        let mut left = splice(&from, None, &input, None, CHUNK, SpliceFlags::MOVE)?;
        if left == 0 {
            return Ok(());
        }
        while left > 0 {
            left -= splice(&output, None, &to, None, left, SpliceFlags::MOVE)?;
        }
    }
}

/// Listens at `at`, says so, and reads what comes from the first that connects, to its end.
pub fn receive(at: &Path, load: Load) -> Result<Account, Trouble> {
    let failed = |error| Trouble::io("receive", error);
    let listener = UnixListener::bind(at).map_err(failed)?;
    println!("{}", at.display());
    let (mut stream, _) = listener.accept().map_err(failed)?;
    let mut buffer = vec![0; CHUNK];
    let (mut first, mut last, mut bytes) = (0, 0, 0);
    loop {
        let read = stream.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        last = now();
        if bytes == 0 {
            first = last;
        }
        bytes += read;
    }
    Ok(Account { received: (bytes / load.size) as u64, first, last, ..Account::default() })
}
