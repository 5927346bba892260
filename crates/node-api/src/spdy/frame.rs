//! Frames of SPDY/3.1 to and from bytes (draft-mbelshe-httpbis-spdy-00, section 2), without a socket.
//!
//! The decoder takes bytes as they come and gives frames as they are whole, except that data is given in the pieces in
//! which it came: a Go client may put 16 MiB into one frame, and nobody should hold that. It must not panic whatever it
//! is fed; after an error it is of no use any more, because compression has one history for the whole connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::headers::{Deflater, Headers, HeadersError, Inflater};

/// A stream's number: odd when a client opened it.
pub type StreamId = u32;

/// Why a stream is reset (section 2.6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResetStatus {
    /// The other end broke the rules.
    ProtocolError,
    /// Not accepted; nothing was done for it.
    RefusedStream,
    /// Not wanted any more.
    Cancel,
    /// Any other; its number.
    Other(u32),
}

impl From<u32> for ResetStatus {
    fn from(status: u32) -> Self {
        match status {
            1 => Self::ProtocolError,
            3 => Self::RefusedStream,
            5 => Self::Cancel,
            other => Self::Other(other),
        }
    }
}

impl From<ResetStatus> for u32 {
    fn from(status: ResetStatus) -> Self {
        match status {
            ResetStatus::ProtocolError => 1,
            ResetStatus::RefusedStream => 3,
            ResetStatus::Cancel => 5,
            ResetStatus::Other(other) => other,
        }
    }
}

/// What one end tells the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Opens a stream.
    SynStream {
        /// Its number.
        stream: StreamId,
        /// The sender has nothing more to say on it.
        fin: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    SynReply {
        /// Its number.
        stream: StreamId,
        /// The sender has nothing to say on it.
        fin: bool,
        /// Anything to tell.
        headers: Headers,
    },
    /// Ends a stream in both directions, at once.
    RstStream {
        /// Its number.
        stream: StreamId,
        /// Why.
        status: ResetStatus,
    },
    /// Wishes about the connection. None of them concerns us.
    Settings,
    /// To be sent back as it is, if its number is not one of ours.
    Ping {
        /// Odd from clients, even from servers.
        id: u32,
    },
    /// No new stream will be looked at.
    GoAway {
        /// The last stream that was.
        last_stream: StreamId,
        /// 0 when all is well.
        status: u32,
    },
    /// More headers of an open stream.
    Headers {
        /// Its number.
        stream: StreamId,
        /// The sender has nothing more to say on it.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// Room for more data.
    WindowUpdate {
        /// Its number.
        stream: StreamId,
        /// How much more.
        delta_bytes: u32,
    },
    /// Bytes of a stream.
    Data {
        /// Its number.
        stream: StreamId,
        /// The sender has nothing more to say on it.
        fin: bool,
        /// The bytes: one piece of maybe several of a frame; only the last has `fin`.
        bytes: Bytes,
    },
}

/// Why a connection cannot be read any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// SPDY/2, or not SPDY at all.
    #[error("the frame is of SPDY version {0}, and 3 is spoken here")]
    Version(u16),
    /// A control frame that is longer than any sane one.
    #[error("the frame has {length_bytes} bytes, more than the {limit_bytes} allowed")]
    TooLarge {
        /// As it says.
        length_bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// Shorter than its own fields.
    #[error("the frame of type {kind} is too short")]
    Short {
        /// Its type's number.
        kind: u16,
    },
    /// Stream 0, or one that is of the wrong end.
    #[error("the frame names stream 0")]
    StreamZero,
    /// The headers within.
    #[error(transparent)]
    Headers(#[from] HeadersError),
}

/// What is allowed to the other end.
#[derive(Debug, Clone, Copy)]
pub struct FrameLimits {
    /// Of a control frame, as it comes.
    pub control_bytes: usize,
    /// Of a block of headers, inflated.
    pub headers_bytes: usize,
    /// Of a piece of data as it is given out.
    pub piece_bytes: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        // A stream of Kubernetes has three headers of a few letters.
        Self { control_bytes: 16 << 10, headers_bytes: 64 << 10, piece_bytes: 32 << 10 }
    }
}

const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;
const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;
/// The highest bit of a stream's number is reserved.
const STREAM_MASK: u32 = 0x7fff_ffff;

/// A data frame of which not all has come.
struct Unfinished {
    stream: StreamId,
    fin: bool,
    left_bytes: usize,
}

/// From bytes to frames.
pub struct Decoder {
    limits: FrameLimits,
    inflater: Inflater,
    came: BytesMut,
    unfinished: Option<Unfinished>,
}

impl Decoder {
    /// Nothing read yet.
    pub fn new(limits: FrameLimits) -> Self {
        Self { limits, inflater: Inflater::default(), came: BytesMut::new(), unfinished: None }
    }

    /// Where to append what was read.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.came
    }

    /// The next frame, if all of it has come.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(frame) = self.piece() {
                return Ok(Some(frame));
            }
            let Some((head, _)) = self.came.split_first_chunk::<8>() else { return Ok(None) };
            let [a, b, c, d, flags, rest @ ..] = *head;
            let word = u32::from_be_bytes([a, b, c, d]);
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if word & !STREAM_MASK == 0 {
                if word == 0 {
                    return Err(FrameError::StreamZero);
                }
                self.came.advance(8);
                self.unfinished =
                    Some(Unfinished { stream: word, fin: flags & FLAG_FIN != 0, left_bytes: length });
                if let Some(frame) = self.empty_end() {
                    return Ok(Some(frame));
                }
                continue;
            }
            let version = ((word & STREAM_MASK) >> 16) as u16;
            if version != VERSION {
                return Err(FrameError::Version(version));
            }
            if length > self.limits.control_bytes {
                let limit_bytes = self.limits.control_bytes;
                return Err(FrameError::TooLarge { length_bytes: length, limit_bytes });
            }
            if self.came.len() < 8 + length {
                return Ok(None);
            }
            self.came.advance(8);
            let body = self.came.split_to(length).freeze();
            if let Some(frame) = self.control((word & 0xffff) as u16, flags, body)? {
                return Ok(Some(frame));
            }
        }
    }

    /// A data frame without data: of use only for its end.
    fn empty_end(&mut self) -> Option<Frame> {
        let Unfinished { stream, fin, .. } = self.unfinished.take_if(|frame| frame.left_bytes == 0)?;
        fin.then(|| Frame::Data { stream, fin, bytes: Bytes::new() })
    }

    /// As much of the data frame being read as came.
    fn piece(&mut self) -> Option<Frame> {
        let unfinished = self.unfinished.as_mut()?;
        let length = unfinished.left_bytes.min(self.came.len()).min(self.limits.piece_bytes);
        if length == 0 {
            return None;
        }
        unfinished.left_bytes -= length;
        let whole = unfinished.left_bytes == 0;
        let (stream, fin) = (unfinished.stream, unfinished.fin && whole);
        if whole {
            self.unfinished = None;
        }
        Some(Frame::Data { stream, fin, bytes: self.came.split_to(length).freeze() })
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> Result<Option<Frame>, FrameError> {
        let fin = flags & FLAG_FIN != 0;
        let word = |body: &mut Bytes| {
            if body.len() < 4 { Err(FrameError::Short { kind }) } else { Ok(body.get_u32()) }
        };
        let frame = match kind {
            SYN_STREAM => {
                let stream = nonzero(word(&mut body)? & STREAM_MASK)?;
                let _associated = word(&mut body)?;
                if body.len() < 2 {
                    return Err(FrameError::Short { kind });
                }
                // Priority and credential slot: nobody uses them.
                body.advance(2);
                Frame::SynStream { stream, fin, headers: self.headers(&body)? }
            }
            SYN_REPLY => {
                let stream = nonzero(word(&mut body)? & STREAM_MASK)?;
                Frame::SynReply { stream, fin, headers: self.headers(&body)? }
            }
            HEADERS => {
                let stream = nonzero(word(&mut body)? & STREAM_MASK)?;
                Frame::Headers { stream, fin, headers: self.headers(&body)? }
            }
            RST_STREAM => {
                let stream = nonzero(word(&mut body)? & STREAM_MASK)?;
                Frame::RstStream { stream, status: word(&mut body)?.into() }
            }
            SETTINGS => Frame::Settings,
            PING => Frame::Ping { id: word(&mut body)? },
            GOAWAY => Frame::GoAway { last_stream: word(&mut body)? & STREAM_MASK, status: word(&mut body)? },
            WINDOW_UPDATE => {
                let stream = word(&mut body)? & STREAM_MASK;
                Frame::WindowUpdate { stream, delta_bytes: word(&mut body)? & STREAM_MASK }
            }
            // "An endpoint must ignore control frames of a type it does not recognise" (section 2.2.1).
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }

    fn headers(&mut self, block: &[u8]) -> Result<Headers, FrameError> {
        Ok(self.inflater.inflate(block, self.limits.headers_bytes)?)
    }
}

fn nonzero(stream: u32) -> Result<StreamId, FrameError> {
    if stream == 0 { Err(FrameError::StreamZero) } else { Ok(stream) }
}

/// From frames to bytes.
#[derive(Default)]
pub struct Encoder {
    deflater: Deflater,
}

impl Encoder {
    /// Appends a frame to `out`. Data beyond what one frame can have (16 MiB) goes into several.
    pub fn encode(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        match frame {
            Frame::SynStream { stream, fin, headers } => {
                let mut body = Vec::with_capacity(128);
                body.put_u32(*stream);
                body.put_u32(0);
                body.put_u16(0);
                self.deflater.deflate(headers, &mut body);
                control(out, SYN_STREAM, *fin, &body);
            }
            Frame::SynReply { stream, fin, headers } => {
                self.with_headers(out, SYN_REPLY, *stream, *fin, headers)
            }
            Frame::Headers { stream, fin, headers } => {
                self.with_headers(out, HEADERS, *stream, *fin, headers)
            }
            Frame::RstStream { stream, status } => two_words(out, RST_STREAM, *stream, (*status).into()),
            Frame::Settings => control(out, SETTINGS, false, &0_u32.to_be_bytes()),
            Frame::Ping { id } => control(out, PING, false, &id.to_be_bytes()),
            Frame::GoAway { last_stream, status } => two_words(out, GOAWAY, *last_stream, *status),
            Frame::WindowUpdate { stream, delta_bytes } => {
                two_words(out, WINDOW_UPDATE, *stream, *delta_bytes)
            }
            Frame::Data { stream, fin, bytes } => data(out, *stream, *fin, bytes),
        }
    }

    fn with_headers(&mut self, out: &mut Vec<u8>, kind: u16, stream: StreamId, fin: bool, headers: &Headers) {
        let mut body = Vec::with_capacity(64);
        body.put_u32(stream);
        self.deflater.deflate(headers, &mut body);
        control(out, kind, fin, &body);
    }
}

fn data(out: &mut Vec<u8>, stream: StreamId, fin: bool, bytes: &[u8]) {
    const FRAME_BYTES: usize = 0xff_ffff;
    let mut pieces = bytes.chunks(FRAME_BYTES).peekable();
    if pieces.peek().is_none() {
        out.put_u32(stream & STREAM_MASK);
        out.put_u32(u32::from(fin) << 24);
    }
    while let Some(piece) = pieces.next() {
        let flags = u32::from(fin && pieces.peek().is_none());
        out.put_u32(stream & STREAM_MASK);
        out.put_u32((flags << 24) | piece.len() as u32);
        out.extend_from_slice(piece);
    }
}

fn control(out: &mut Vec<u8>, kind: u16, fin: bool, body: &[u8]) {
    out.put_u16(0x8000 | VERSION);
    out.put_u16(kind);
    out.put_u32((u32::from(fin) << 24) | body.len() as u32);
    out.extend_from_slice(body);
}

fn two_words(out: &mut Vec<u8>, kind: u16, first: u32, second: u32) {
    let mut body = [0; 8];
    body[..4].copy_from_slice(&first.to_be_bytes());
    body[4..].copy_from_slice(&second.to_be_bytes());
    control(out, kind, false, &body);
}

/// Feeds any bytes to a decoder in any pieces, as a hostile client would: it neither panics nor gives pieces that are
/// too large. The body of the fuzz target `spdy_frames`, and of a property test.
pub fn fuzz(input: &[u8]) {
    let Some((&step, rest)) = input.split_first() else { return };
    let limits = FrameLimits { control_bytes: 4096, headers_bytes: 4096, piece_bytes: 512 };
    let mut decoder = Decoder::new(limits);
    for piece in rest.chunks(usize::from(step).max(1)) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(Frame::Data { bytes, .. })) => assert!(bytes.len() <= limits.piece_bytes),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return,
            }
        }
        assert!(
            decoder.came.len() <= 8 + limits.control_bytes,
            "only an unfinished control frame is held back"
        );
    }
}

#[cfg(test)]
mod tests;
