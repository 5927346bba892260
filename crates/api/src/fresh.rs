//! What is new with every object: the instant, its UID, a generated name's end. The only randomness and clock of objects.

use jiff::Timestamp;
use ring::rand::{SecureRandom, SystemRandom};

use crate::respond::Failure;

/// The instant, as Kubernetes writes it: RFC 3339 in seconds.
pub(crate) fn now() -> String {
    written(Timestamp::now())
}

/// An instant as Kubernetes writes it.
pub(crate) fn written(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Random bytes of the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Failure> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::internal("get random bytes", &"the kernel gives none"))?;
    Ok(bytes)
}

/// A random UUID (RFC 9562, version 4).
pub(crate) fn uid() -> Result<String, Failure> {
    let mut bytes = random::<16>()?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_are_random_uuids() {
        let (one, other) = (uid().expect("random"), uid().expect("random"));
        assert_ne!(one, other);
        assert_eq!((one.len(), &one[14..15]), (36, "4"));
        assert!(matches!(&one[19..20], "8" | "9" | "a" | "b"));
    }

    #[test]
    fn instants_have_seconds() {
        let at: Timestamp = "2026-01-02T03:04:05.678Z".parse().expect("an instant");
        assert_eq!(written(at), "2026-01-02T03:04:05Z");
    }
}
