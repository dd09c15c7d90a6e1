//! Who may open what we name.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::{null, null_mut};
use std::sync::OnceLock;

use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::{
    ConvertSidToStringSidW, ConvertStringSecurityDescriptorToSecurityDescriptorW, SDDL_REVISION_1,
};
use windows_sys::Win32::Security::Cryptography::{
    BCRYPT_USE_SYSTEM_PREFERRED_RNG, BCryptGenRandom,
};
use windows_sys::Win32::Security::{
    GetTokenInformation, PSECURITY_DESCRIPTOR, SECURITY_ATTRIBUTES, TOKEN_QUERY, TOKEN_USER,
    TokenUser,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

use super::error::{check, wide};

/// A security descriptor that lets in the user of this process and nobody else.
#[derive(Debug)]
struct OwnerOnly(PSECURITY_DESCRIPTOR);

// SAFETY: the descriptor is never written after it was made.
unsafe impl Send for OwnerOnly {}
// SAFETY: as above.
unsafe impl Sync for OwnerOnly {}

/// Attributes of an object that only this user can open. They point into memory
/// that lives as long as the program.
pub(super) fn owner_only() -> io::Result<SECURITY_ATTRIBUTES> {
    static KNOWN: OnceLock<OwnerOnly> = OnceLock::new();
    let descriptor = match KNOWN.get() {
        Some(known) => known.0,
        None => {
            let made = descriptor()?;
            KNOWN.get_or_init(|| made).0
        }
    };
    Ok(SECURITY_ATTRIBUTES {
        nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
        lpSecurityDescriptor: descriptor,
        bInheritHandle: 0,
    })
}

fn descriptor() -> io::Result<OwnerOnly> {
    let sddl = wide(format!("D:P(A;;GA;;;{})", own_sid()?));
    let mut descriptor = null_mut();
    // SAFETY: the text ends with a zero; the pointer is to a local.
    check(unsafe {
        ConvertStringSecurityDescriptorToSecurityDescriptorW(
            sddl.as_ptr(),
            SDDL_REVISION_1,
            &mut descriptor,
            null_mut(),
        )
    })?;
    Ok(OwnerOnly(descriptor))
}

/// The user of this process, as the system writes one.
fn own_sid() -> io::Result<String> {
    let mut token = null_mut();
    // SAFETY: the pseudo handle needs no care; the pointer is to a local.
    check(unsafe { OpenProcessToken(GetCurrentProcess(), TOKEN_QUERY, &mut token) })?;
    // SAFETY: just opened, and nobody else's.
    let token = unsafe { OwnedHandle::from_raw_handle(token) };
    // Aligned for the structure at its start; a SID takes at most 68 bytes more.
    let mut buf = [0u64; 32];
    let mut len = 0;
    // SAFETY: the buffer is as long as is said.
    check(unsafe {
        GetTokenInformation(
            token.as_raw_handle(),
            TokenUser,
            buf.as_mut_ptr().cast(),
            size_of_val(&buf) as u32,
            &mut len,
        )
    })?;
    let mut text = null_mut();
    // SAFETY: the call above has filled in a `TOKEN_USER` whose SID lies behind it
    // in the buffer.
    check(unsafe {
        ConvertSidToStringSidW((*buf.as_ptr().cast::<TOKEN_USER>()).User.Sid, &mut text)
    })?;
    // SAFETY: the system's text ends with a zero and is freed once, after its last use.
    unsafe {
        let len = (0..).take_while(|i| *text.add(*i) != 0).count();
        let sid = String::from_utf16_lossy(std::slice::from_raw_parts(text, len));
        LocalFree(text.cast());
        Ok(sid)
    }
}

/// 128 bits nobody can guess, in hexadecimal.
pub(super) fn random_name() -> io::Result<String> {
    let mut bytes = [0u8; 16];
    // SAFETY: the buffer is as long as is said.
    let status = unsafe {
        BCryptGenRandom(
            null_mut(),
            bytes.as_mut_ptr(),
            bytes.len() as u32,
            BCRYPT_USE_SYSTEM_PREFERRED_RNG,
        )
    };
    if status != 0 {
        return Err(io::Error::other(format!("no random bytes: status {status:#x}")));
    }
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

/// No attributes: private to this process and not inherited.
pub(super) fn private() -> *const SECURITY_ATTRIBUTES {
    null()
}
