//! Messages of `channel.k8s.io` and its kin: a channel's number, then bytes; or both as text, in base64. Pure.
//!
//! The formats are told in `k8s.io/apimachinery/pkg/util/httpstream/wsstream/conn.go`; the close signal is of KEP-4006.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};

/// The channel that says in version 5 that another one ends: its number is the message.
const CLOSE_SIGNAL: u8 = 255;

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// The number as a byte, then the bytes.
    Binary,
    /// As `Binary`, and a client can end a channel.
    BinaryWithClose,
    /// The number as a digit, then the bytes in base64, as text.
    Base64,
}

/// What a client told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromClient {
    /// Bytes of a channel.
    Data(u8, Bytes),
    /// A channel ends.
    Close(u8),
    /// Nothing: an empty message, or one that cannot be read. Kubernetes passes those over.
    Nothing,
}

/// Reads a message.
pub fn decode(encoding: Encoding, mut message: Bytes) -> FromClient {
    if message.is_empty() {
        return FromClient::Nothing;
    }
    let first = message.get_u8();
    match encoding {
        Encoding::BinaryWithClose if first == CLOSE_SIGNAL => {
            message.first().map_or(FromClient::Nothing, |channel| FromClient::Close(*channel))
        }
        Encoding::Binary | Encoding::BinaryWithClose => FromClient::Data(first, message),
        Encoding::Base64 => match (first.checked_sub(b'0'), STANDARD.decode(&message)) {
            (Some(channel), Ok(bytes)) => FromClient::Data(channel, bytes.into()),
            _ => FromClient::Nothing,
        },
    }
}

/// A message to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToClient {
    /// As a binary message.
    Binary(Bytes),
    /// As a text message.
    Text(String),
}

/// Writes a message.
pub fn encode(encoding: Encoding, channel: u8, bytes: &[u8]) -> ToClient {
    match encoding {
        Encoding::Binary | Encoding::BinaryWithClose => {
            let mut message = Vec::with_capacity(1 + bytes.len());
            message.push(channel);
            message.extend_from_slice(bytes);
            ToClient::Binary(message.into())
        }
        Encoding::Base64 => {
            let mut message = String::from(char::from(b'0'.wrapping_add(channel)));
            STANDARD.encode_string(bytes, &mut message);
            ToClient::Text(message)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_kubernetes() {
        assert_eq!(
            decode(Encoding::Binary, Bytes::from_static(&[0, 102, 111, 111, 10])),
            FromClient::Data(0, "foo\n".into())
        );
        // The comment there has the base64 of "foo\n\n" for this.
        assert_eq!(decode(Encoding::Base64, "0Zm9vCg==".into()), FromClient::Data(0, "foo\n".into()));
        assert_eq!(encode(Encoding::Binary, 1, b"\n"), ToClient::Binary(Bytes::from_static(&[1, 10])));
        assert_eq!(encode(Encoding::Base64, 1, b"\n"), ToClient::Text("1Cg==".into()));
    }

    #[test]
    fn only_version_five_ends_a_channel() {
        let close = Bytes::from_static(&[255, 0]);
        assert_eq!(decode(Encoding::BinaryWithClose, close.clone()), FromClient::Close(0));
        assert_eq!(decode(Encoding::Binary, close), FromClient::Data(255, Bytes::from_static(&[0])));
        assert_eq!(decode(Encoding::BinaryWithClose, Bytes::from_static(&[255])), FromClient::Nothing);
    }

    #[test]
    fn what_cannot_be_read_is_nothing() {
        assert_eq!(decode(Encoding::Binary, Bytes::new()), FromClient::Nothing);
        assert_eq!(decode(Encoding::Base64, "0***".into()), FromClient::Nothing);
        assert_eq!(decode(Encoding::Base64, "\x01Zg==".into()), FromClient::Nothing);
    }

    proptest! {
        #[test]
        fn what_is_written_can_be_read(channel in 0_u8..5, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for encoding in [Encoding::Binary, Encoding::BinaryWithClose, Encoding::Base64] {
                let message = match encode(encoding, channel, &bytes) {
                    ToClient::Binary(message) => message,
                    ToClient::Text(message) => message.into(),
                };
                let read = decode(encoding, message);
                prop_assert_eq!(read, FromClient::Data(channel, bytes.clone().into()));
            }
        }

        #[test]
        fn any_message_is_read_or_passed_over(message in prop::collection::vec(any::<u8>(), 0..100)) {
            for encoding in [Encoding::Binary, Encoding::BinaryWithClose, Encoding::Base64] {
                let _ = decode(encoding, message.clone().into());
            }
        }
    }
}
