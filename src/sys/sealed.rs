//! Memory that is filled once, and then read by many processes and written by none.

use std::io;

use super::{Handle, Mapping, handle_ref, opens_as_is, seal, unsealed, unsealed_copy};

/// Memory that is being filled: nobody else has it yet.
#[derive(Debug)]
pub(crate) struct Filling {
    mapping: Mapping,
    handle: Handle,
    /// By which others may only read it, where that must be made beforehand.
    read_only: Option<Handle>,
}

impl Filling {
    /// Zeroed memory of `len` bytes, at least one. Whoever gets at its handle before it is sealed (by `/proc`, say)
    /// cannot write it either.
    pub(crate) fn create(name: &str, len: usize) -> io::Result<Self> {
        let (handle, read_only) = unsealed(name, len)?;
        let mapping = Mapping::of_own(handle_ref(&handle), len)?;
        mapping.keep_from_forks();
        #[cfg(target_os = "linux")]
        super::keep_writers_out(handle_ref(&handle))?;
        Ok(Filling { mapping, handle, read_only })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: in bounds; nobody else has the memory, and whoever writes here has `&mut self`.
        unsafe { std::slice::from_raw_parts(self.mapping.start.as_ptr(), self.mapping.len) }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the borrow is the only one.
        unsafe { std::slice::from_raw_parts_mut(self.mapping.start.as_ptr(), self.mapping.len) }
    }

    /// Nobody can write it from now on; and the handle by which others read it.
    pub(crate) fn seal(self) -> io::Result<(Sealed, Handle)> {
        // There whoever has the handle can get at another one, by which it can write.
        let copy = cfg!(windows).then(|| Box::from(self.bytes()));
        let Filling { mapping, handle, read_only } = self;
        let len = mapping.len;
        // No seal on what is mapped to be written.
        drop(mapping);
        let handle = seal(handle, read_only)?;
        if let Some(copy) = copy {
            return Ok((Sealed(Content::Copied(copy)), handle));
        }
        Sealed::map(handle, len)
    }
}

/// Memory that nobody can write.
#[derive(Debug)]
pub(crate) struct Sealed(Content);

#[derive(Debug)]
enum Content {
    Mapped(Mapping),
    /// Where another process could still write what it gave: what it was when it came.
    Copied(Box<[u8]>),
}

impl Sealed {
    /// Memory that holds these bytes, at least one, and the handle by which others read it.
    pub(crate) fn copy_of(name: &str, bytes: &[u8]) -> io::Result<(Self, Handle)> {
        if let Some(handle) = unsealed_copy(name, bytes)? {
            return Self::map(seal(handle, None)?, bytes.len());
        }
        let mut filling = Filling::create(name, bytes.len())?;
        filling.bytes_mut().copy_from_slice(bytes);
        filling.seal()
    }

    /// What this process has sealed.
    fn map(handle: Handle, len: usize) -> io::Result<(Self, Handle)> {
        let mapping = Mapping::read_only(handle_ref(&handle), len)?;
        Ok((Sealed(Content::Mapped(mapping)), handle))
    }

    /// Opens what another process gave. What is not sealed, not all there, or of another length is
    /// refused.
    pub(crate) fn open(handle: &Handle, len: usize) -> io::Result<Self> {
        let as_is = opens_as_is(handle_ref(handle), len)?;
        let mapping = Mapping::read_only(handle_ref(handle), len)?;
        if as_is {
            return Ok(Sealed(Content::Mapped(mapping)));
        }
        let mut copy = vec![0; len];
        // SAFETY: in bounds; the target is private. Its maker may write it meanwhile, which spoils
        // the values, nothing else.
        unsafe {
            std::ptr::copy_nonoverlapping(mapping.start.as_ptr(), copy.as_mut_ptr(), len);
        }
        Ok(Sealed(Content::Copied(copy.into())))
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            // SAFETY: in bounds, and mapped as long as `self`. Nobody can write it: it was sealed
            // against that, or is of this process's making and others have it read-only.
            Content::Mapped(mapping) => unsafe {
                std::slice::from_raw_parts(mapping.start.as_ptr(), mapping.len)
            },
            Content::Copied(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_filled_is_what_is_read() {
        let mut filling = Filling::create("test", 10_000).unwrap();
        assert!(filling.bytes().iter().all(|byte| *byte == 0));
        filling.bytes_mut().copy_from_slice(&[7; 10_000]);
        let (sealed, handle) = filling.seal().unwrap();
        assert_eq!(sealed.bytes(), [7; 10_000]);
        let other = Sealed::open(&handle, 10_000).unwrap();
        drop(sealed);
        assert_eq!(other.bytes(), [7; 10_000]);
        let (sealed, handle) = Sealed::copy_of("test", &[8; 10_000]).unwrap();
        let other = Sealed::open(&handle, 10_000).unwrap();
        assert_eq!((sealed.bytes(), other.bytes()), (&[8; 10_000][..], &[8; 10_000][..]));
    }

    /// As other processes of this user can open it.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_is_being_filled_nobody_else_can_write() {
        use std::io::Write;
        use std::os::fd::{AsFd, AsRawFd};
        let mut filling = Filling::create("test", 4096).unwrap();
        let path = format!("/proc/self/fd/{}", filling.handle.as_raw_fd());
        let mut file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        assert!(file.write_all(&[1]).is_err() && file.set_len(0).is_err());
        assert!(Mapping::of_own(file.as_fd(), 4096).is_err());
        filling.bytes_mut()[1] = 2;
        assert_eq!(filling.seal().unwrap().0.bytes()[..2], [0, 2]);
    }

    #[test]
    fn what_could_be_written_or_is_shorter_is_refused() {
        let (_block, handle) = super::super::SharedBlock::create("test", 8192).unwrap();
        if let Ok(copied) = Sealed::open(&handle, 8192) {
            assert!(matches!(copied.0, Content::Copied(_)), "it is only a copy");
        }
        let (_sealed, handle) = Filling::create("test", 4096).unwrap().seal().unwrap();
        assert!(Sealed::open(&handle, 4096 * 16).is_err());
        assert!(Mapping::of_own(handle_ref(&handle), 4096).is_err(), "it cannot be written");
    }
}
