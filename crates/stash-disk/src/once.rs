//! Reads that leave the page cache as it was.

use std::fs::File;
use std::io;

/// Reads exactly `buffer.len()` bytes of a file, for the only time that they are wanted soon. What is
/// in the page cache is read from there and stays; what is not is not left there, so that it pushes
/// out nothing that others use.
///
/// It is `RWF_DONTCACHE` where the kernel and the file system have it (Linux 6.14 and later). Elsewhere what is
/// read stays until there is need of its room, and the kernel is told that it is the first to go
/// (`POSIX_FADV_NOREUSE`, Linux 6.3 and later), for this open file from then on.
///
/// # Errors
///
/// Those of reading; fewer bytes are [`io::ErrorKind::UnexpectedEof`].
pub fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
    sys::read_once(file, offset, buffer)
}

#[cfg(target_os = "linux")]
mod sys {
    use std::fs::File;
    use std::io::{self, IoSliceMut};
    use std::os::unix::fs::FileExt;

    use rustix::fs::{Advice, fadvise};
    use rustix::io::{Errno, ReadWriteFlags, preadv2};

    /// `RWF_DONTCACHE`, which rustix does not name.
    const DONTCACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

    pub(super) fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            let (at, rest) = (offset + done as u64, &mut buffer[done..]);
            match preadv2(file, &mut [IoSliceMut::new(rest)], at, DONTCACHE) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => done += count,
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                    let _only_a_hint = fadvise(file, 0, None, Advice::NoReuse);
                    return file.read_exact_at(rest, at);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;

    pub(super) fn read_once(file: &File, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }
}
