//! How the two ends of a connection prove to each other that they know the same key; pure.
//!
//! ```text
//! client → server   Hello      version, name, 32 random bytes
//! server → client   Challenge  32 random bytes, MAC("server", both names' bytes …)
//! client → server   Proof      MAC("client", …)
//! server → client   Welcome    which manager it is
//! ```
//!
//! A MAC is HMAC-SHA-256 with the key over a label for the role, the client's name, both random numbers, and what binds the
//! exchange to the channel it is made on (the exporter of TLS, or nothing on a socket that other users cannot reach). The
//! labels differ, so neither side's answer serves as the other's; both numbers are new each time, so no answer serves
//! twice; and where the channel is bound, none serves on another channel. There is one algorithm, and no other is fallen
//! back to. The server proves itself first: a client tells nothing to whoever does not know its key.

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::auth::AuthKey;

/// Longest frame of a handshake.
pub(super) const MAX_FRAME: u64 = 512;
/// Longest name of a client.
pub(super) const MAX_NAME: usize = 128;
const VERSION: u16 = 1;
const NONCE: usize = 32;

/// Why a handshake failed; tells a stranger nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("what it says is no greeting of procpool's")]
    Nonsense,
    #[error("it speaks version {0} of the protocol, and this end {VERSION}")]
    Version(u16),
    #[error("it does not know the key")]
    WrongKey,
    #[error("the name of a client has at most {MAX_NAME} bytes")]
    LongName,
    #[error("its certificate was not issued for its name")]
    WrongCertificate,
    #[error("the system has no random numbers")]
    NoRandom,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello<'a> {
    version: u16,
    name: &'a str,
    nonce: [u8; NONCE],
}

#[derive(Debug, Serialize, Deserialize)]
struct Challenge {
    nonce: [u8; NONCE],
    mac: [u8; 32],
}

#[derive(Debug, Serialize, Deserialize)]
struct Proof {
    mac: [u8; 32],
}

fn nonce() -> Result<[u8; NONCE], Refused> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|_| Refused::NoRandom)?;
    Ok(nonce)
}

fn encode(message: &impl Serialize) -> Result<Vec<u8>, Refused> {
    postcard::to_allocvec(message).map_err(|_| Refused::Nonsense)
}

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Refused> {
    match postcard::take_from_bytes(bytes) {
        Ok((message, [])) => Ok(message),
        _ => Err(Refused::Nonsense),
    }
}

/// What is authenticated, but for the role.
struct Transcript<'a> {
    name: &'a str,
    client: [u8; NONCE],
    server: [u8; NONCE],
    binding: &'a [u8],
}

impl Transcript<'_> {
    fn mac(&self, key: &AuthKey, role: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.as_bytes()).ok()?;
        // Each part with its length, so that none runs into the next.
        let parts = [
            b"procpool manager 1".as_slice(),
            role,
            self.name.as_bytes(),
            &self.client,
            &self.server,
            self.binding,
        ];
        for part in parts {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part);
        }
        Some(mac)
    }

    fn sign(&self, key: &AuthKey, role: &[u8]) -> Result<[u8; 32], Refused> {
        let mac = self.mac(key, role).ok_or(Refused::WrongKey)?;
        Ok(mac.finalize().into_bytes().into())
    }

    /// In constant time.
    fn check(&self, key: &AuthKey, role: &[u8], mac: &[u8; 32]) -> Result<(), Refused> {
        let ours = self.mac(key, role).ok_or(Refused::WrongKey)?;
        ours.verify_slice(mac).map_err(|_| Refused::WrongKey)
    }
}

const CLIENT: &[u8] = b"client";
const SERVER: &[u8] = b"server";

/// A client that has said hello.
pub(super) struct ClientHandshake {
    key: AuthKey,
    name: String,
    nonce: [u8; NONCE],
}

impl ClientHandshake {
    /// The client, and its hello.
    pub(super) fn new(name: &str, key: &AuthKey) -> Result<(Self, Vec<u8>), Refused> {
        if name.len() > MAX_NAME {
            return Err(Refused::LongName);
        }
        let nonce = nonce()?;
        let hello = encode(&Hello { version: VERSION, name, nonce })?;
        let (key, name) = (key.clone(), name.to_owned());
        Ok((ClientHandshake { key, name, nonce }, hello))
    }

    /// The proof to answer a challenge with.
    pub(super) fn answer(self, challenge: &[u8], binding: &[u8]) -> Result<Vec<u8>, Refused> {
        let challenge: Challenge = decode(challenge)?;
        let transcript =
            Transcript { name: &self.name, client: self.nonce, server: challenge.nonce, binding };
        transcript.check(&self.key, SERVER, &challenge.mac)?;
        encode(&Proof { mac: transcript.sign(&self.key, CLIENT)? })
    }
}

/// What a client is told that is let in, if there is room for it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Welcome {
    /// Which manager it is: no two are alike.
    pub(super) instance: u128,
    pub(super) session: u64,
}

/// A server that has challenged a client.
pub(super) struct ServerHandshake {
    key: Option<AuthKey>,
    pub(super) name: String,
    client: [u8; NONCE],
    server: [u8; NONCE],
}

impl ServerHandshake {
    /// The server, and its challenge. `key` gives the key of a name; for one that it does not know, the exchange goes on
    /// and fails at its end, as with a wrong key.
    pub(super) fn new(
        hello: &[u8],
        binding: &[u8],
        key: impl FnOnce(&str) -> Option<AuthKey>,
    ) -> Result<(Self, Vec<u8>), Refused> {
        let hello: Hello<'_> = decode(hello)?;
        if hello.version != VERSION {
            return Err(Refused::Version(hello.version));
        }
        if hello.name.len() > MAX_NAME {
            return Err(Refused::LongName);
        }
        let key = key(hello.name);
        let server = nonce()?;
        let transcript = Transcript { name: hello.name, client: hello.nonce, server, binding };
        let mac = match &key {
            Some(key) => transcript.sign(key, SERVER)?,
            None => nonce()?,
        };
        let challenge = encode(&Challenge { nonce: server, mac })?;
        let name = hello.name.to_owned();
        Ok((ServerHandshake { key, name, client: hello.nonce, server }, challenge))
    }

    /// Whether the client has the key.
    pub(super) fn check(&self, proof: &[u8], binding: &[u8]) -> Result<(), Refused> {
        let proof: Proof = decode(proof)?;
        let key = self.key.as_ref().ok_or(Refused::WrongKey)?;
        let (client, server) = (self.client, self.server);
        Transcript { name: &self.name, client, server, binding }.check(key, CLIENT, &proof.mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (AuthKey, AuthKey) {
        (AuthKey::new("secret"), AuthKey::new("other"))
    }

    /// The exchange as far as it comes.
    fn exchange(client: &AuthKey, server: &AuthKey, bindings: [&[u8]; 2]) -> Result<(), Refused> {
        let (at_client, hello) = ClientHandshake::new("me", client)?;
        let (at_server, challenge) =
            ServerHandshake::new(&hello, bindings[1], |_| Some(server.clone()))?;
        let proof = at_client.answer(&challenge, bindings[0])?;
        at_server.check(&proof, bindings[1])
    }

    #[test]
    fn those_who_know_the_key_come_together_and_no_others() {
        let (key, other) = keys();
        assert_eq!(exchange(&key, &key, [b"", b""]), Ok(()));
        assert_eq!(exchange(&key, &key, [b"channel", b"channel"]), Ok(()));
        assert_eq!(exchange(&key, &other, [b"", b""]), Err(Refused::WrongKey));
        let empty = AuthKey::new("");
        assert_eq!(exchange(&empty, &empty, [b"", b""]), Ok(()));
        assert_eq!(exchange(&empty, &key, [b"", b""]), Err(Refused::WrongKey));
    }

    /// Somebody in the middle has a channel with each of them, and passes on what they say.
    #[test]
    fn a_relayed_exchange_is_noticed() {
        let (key, _) = keys();
        assert_eq!(exchange(&key, &key, [b"one channel", b"another"]), Err(Refused::WrongKey));
    }

    #[test]
    fn an_answer_serves_neither_the_other_role_nor_twice() {
        let (key, _) = keys();
        let known = |_: &str| Some(key.clone());
        let (client, hello) = ClientHandshake::new("me", &key).unwrap();
        let (server, challenge) = ServerHandshake::new(&hello, b"", known).unwrap();
        // The server's own answer sent back to it.
        let reflected =
            encode(&Proof { mac: decode::<Challenge>(&challenge).unwrap().mac }).unwrap();
        assert_eq!(server.check(&reflected, b""), Err(Refused::WrongKey));
        let proof = client.answer(&challenge, b"").unwrap();
        assert_eq!(server.check(&proof, b""), Ok(()));
        // Hello and proof of an exchange that was overheard.
        let (again, _) = ServerHandshake::new(&hello, b"", known).unwrap();
        assert_eq!(again.check(&proof, b""), Err(Refused::WrongKey));
        // A challenge that was overheard.
        let (client, _) = ClientHandshake::new("me", &key).unwrap();
        assert_eq!(client.answer(&challenge, b"").unwrap_err(), Refused::WrongKey);
    }

    #[test]
    fn another_name_another_key() {
        let (key, _) = keys();
        let (client, hello) = ClientHandshake::new("stranger", &key).unwrap();
        let known = |name: &str| (name == "me").then(|| key.clone());
        let (server, challenge) = ServerHandshake::new(&hello, b"", known).unwrap();
        assert_eq!(client.answer(&challenge, b"").unwrap_err(), Refused::WrongKey);
        let forged = encode(&Proof { mac: [0; 32] }).unwrap();
        assert_eq!(server.check(&forged, b""), Err(Refused::WrongKey));
    }

    #[test]
    fn nonsense_is_refused_whatever_it_is() {
        let (key, _) = keys();
        let known = |_: &str| Some(key.clone());
        let (_, hello) = ClientHandshake::new("me", &key).unwrap();
        let server =
            |bytes: &[u8]| ServerHandshake::new(bytes, b"", known).map(|_| ()).unwrap_err();
        for cut in 0..hello.len() {
            assert_eq!(server(&hello[..cut]), Refused::Nonsense);
        }
        assert_eq!(server(&[hello.as_slice(), b"x"].concat()), Refused::Nonsense);
        let mut newer = hello.clone();
        newer[0] = 9;
        assert_eq!(server(&newer), Refused::Version(9));
        assert_eq!(
            ClientHandshake::new(&"x".repeat(129), &key).map(|_| ()),
            Err(Refused::LongName)
        );
        let (client, _) = ClientHandshake::new("me", &key).unwrap();
        assert_eq!(client.answer(b"#CHALLENGE#", b"").unwrap_err(), Refused::Nonsense);
    }

    /// Whatever is changed on the way, it is refused.
    #[test]
    fn nothing_that_was_changed_is_believed() {
        let (key, _) = keys();
        let mut seed = 0x2545_f491_4f6c_dd1du64;
        let mut chance = move |n: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            (seed % n as u64) as usize
        };
        for round in 0..3000 {
            let (client, mut hello) = ClientHandshake::new("me", &key).unwrap();
            let mut spoil = |bytes: &mut Vec<u8>, which: usize| {
                if round % 3 == which {
                    let at = chance(bytes.len());
                    bytes[at] ^= 1 << chance(8);
                }
            };
            spoil(&mut hello, 0);
            let known = |name: &str| (name == "me").then(|| key.clone());
            let Ok((server, mut challenge)) = ServerHandshake::new(&hello, b"x", known) else {
                continue;
            };
            spoil(&mut challenge, 1);
            let Ok(mut proof) = client.answer(&challenge, b"x") else { continue };
            spoil(&mut proof, 2);
            assert_eq!(server.check(&proof, b"x"), Err(Refused::WrongKey), "round {round}");
        }
    }
}
