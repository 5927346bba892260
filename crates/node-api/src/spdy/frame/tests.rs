//! Frames there and back again, in any pieces; and what must be refused.

use proptest::prelude::*;

use super::*;

fn frame() -> impl Strategy<Value = Frame> {
    let stream = || 1..=STREAM_MASK;
    let headers = || prop::collection::vec(("[a-z]{1,9}", "[ -~]{0,40}"), 0..5).prop_map(Headers);
    prop_oneof![
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynStream {
            stream,
            fin,
            headers
        }),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::SynReply {
            stream,
            fin,
            headers
        }),
        (stream(), any::<bool>(), headers()).prop_map(|(stream, fin, headers)| Frame::Headers {
            stream,
            fin,
            headers
        }),
        (stream(), any::<u32>())
            .prop_map(|(stream, status)| Frame::RstStream { stream, status: status.into() }),
        Just(Frame::Settings),
        any::<u32>().prop_map(|id| Frame::Ping { id }),
        (0..=STREAM_MASK, any::<u32>())
            .prop_map(|(last_stream, status)| Frame::GoAway { last_stream, status }),
        (0..=STREAM_MASK, 0..=STREAM_MASK)
            .prop_map(|(stream, delta_bytes)| Frame::WindowUpdate { stream, delta_bytes }),
        (stream(), any::<bool>(), prop::collection::vec(any::<u8>(), 0..2000))
            .prop_map(|(stream, fin, bytes)| Frame::Data { stream, fin, bytes: bytes.into() }),
    ]
}

/// Joins the pieces of data again, and forgets data frames that say nothing.
fn joined(frames: Vec<Frame>) -> Vec<Frame> {
    let mut joined: Vec<Frame> = Vec::new();
    for frame in frames {
        match (joined.last_mut(), &frame) {
            (_, Frame::Data { fin: false, bytes, .. }) if bytes.is_empty() => {}
            (
                Some(Frame::Data { stream: last, fin: fin @ false, bytes: before }),
                Frame::Data { stream, fin: now, bytes },
            ) if last == stream => {
                *before = [&before[..], &bytes[..]].concat().into();
                *fin = *now;
            }
            _ => joined.push(frame),
        }
    }
    joined
}

fn decode(bytes: &[u8], step: usize) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::new(FrameLimits { piece_bytes: 300, ..FrameLimits::default() });
    let mut frames = Vec::new();
    for piece in bytes.chunks(step) {
        decoder.buffer().extend_from_slice(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

proptest! {
    #[test]
    fn what_was_sent_arrives_in_whatever_pieces(
        frames in prop::collection::vec(frame(), 0..20),
        step in 1_usize..5000,
    ) {
        let (mut encoder, mut bytes) = (Encoder::default(), Vec::new());
        for frame in &frames {
            encoder.encode(frame, &mut bytes);
        }
        prop_assert_eq!(decode(&bytes, step).map(joined), Ok(joined(frames)));
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..3000)) {
        fuzz(&input);
    }

    /// Random bytes are rarely frames: so begin with good ones, and spoil a few bytes.
    #[test]
    fn no_spoiled_frames_make_it_panic(
        frames in prop::collection::vec(frame(), 1..10),
        spoiled in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        step in any::<u8>(),
    ) {
        let (mut encoder, mut bytes) = (Encoder::default(), vec![step]);
        for frame in &frames {
            encoder.encode(frame, &mut bytes);
        }
        for (at, value) in spoiled {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        fuzz(&bytes);
    }
}

#[test]
fn a_ping_is_the_bytes_of_the_draft() {
    let mut bytes = Vec::new();
    Encoder::default().encode(&Frame::Ping { id: 0x0102 }, &mut bytes);
    assert_eq!(bytes, [0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 1, 2]);
}

#[test]
fn data_is_the_bytes_of_the_draft() {
    let mut bytes = Vec::new();
    Encoder::default().encode(&Frame::Data { stream: 5, fin: true, bytes: "hi".into() }, &mut bytes);
    assert_eq!(bytes, [0, 0, 0, 5, 1, 0, 0, 2, b'h', b'i']);
}

#[test]
fn a_frame_too_large_is_refused_before_it_has_come() {
    let refused = decode(&[0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff], 8);
    assert_eq!(refused, Err(FrameError::TooLarge { length_bytes: 0xff_ffff, limit_bytes: 16 << 10 }));
}

#[test]
fn another_version_is_refused() {
    assert_eq!(decode(&[0x80, 2, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1], 12), Err(FrameError::Version(2)));
    // What a client that speaks HTTP sends is data of a strange stream, if anything: never a control frame.
    assert!(decode(b"GET / HTTP/1.1\r\n\r\n", 18).is_ok());
}

#[test]
fn stream_zero_is_refused() {
    assert_eq!(decode(&[0, 0, 0, 0, 0, 0, 0, 1, 1], 9), Err(FrameError::StreamZero));
    assert_eq!(decode(&[0x80, 3, 0, 3, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1], 16), Err(FrameError::StreamZero));
}

#[test]
fn a_frame_shorter_than_its_fields_is_refused() {
    assert_eq!(
        decode(&[0x80, 3, 0, 1, 0, 0, 0, 5, 0, 0, 0, 1, 0], 13),
        Err(FrameError::Short { kind: SYN_STREAM })
    );
}

#[test]
fn an_unknown_control_frame_is_passed_over() {
    let bytes = [0x80, 3, 0, 99, 0, 0, 0, 2, 7, 7, 0x80, 3, 0, 6, 0, 0, 0, 4, 0, 0, 0, 1];
    assert_eq!(decode(&bytes, 3), Ok(vec![Frame::Ping { id: 1 }]));
}

#[test]
fn a_large_frame_comes_in_pieces_and_ends_once() {
    let mut bytes = Vec::new();
    Encoder::default().encode(&Frame::Data { stream: 1, fin: true, bytes: vec![7; 1000].into() }, &mut bytes);
    let frames = decode(&bytes, 1008).unwrap();
    let lengths: Vec<_> = frames
        .iter()
        .map(|frame| match frame {
            Frame::Data { bytes, fin, .. } => (bytes.len(), *fin),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lengths, [(300, false), (300, false), (300, false), (100, true)]);
}
