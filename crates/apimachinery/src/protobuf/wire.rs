//! The wire format of protobuf: a message is numbered fields, each a number or bytes.
//!
//! <https://protobuf.dev/programming-guides/encoding/>; groups, which no message of Kubernetes has, are refused.

/// What is wrong with bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The message ends within a field.
    #[error("unexpected EOF")]
    Truncated,
    /// A number of more than 64 bits.
    #[error("integer overflow")]
    Overflow,
    /// Field 0, or one above what protobuf allows.
    #[error("illegal tag {0}")]
    IllegalNumber(u64),
    /// A group, or a wire type that does not exist.
    #[error("illegal wire type {0}")]
    IllegalWireType(u8),
    /// The field is on the wire in another way than its type is.
    #[error("wrong wire type for {0}")]
    WrongWireType(&'static str),
    /// Text that is not UTF-8.
    #[error("invalid UTF-8")]
    NotText,
    /// A time that RFC 3339 cannot write.
    #[error("time out of range")]
    NoSuchTime,
    /// A number that JSON cannot write.
    #[error("not a finite number")]
    NotFinite,
    /// Embedded JSON that is none.
    #[error("invalid JSON: {0}")]
    Json(String),
    /// Messages within messages without end.
    #[error("exceeded max depth")]
    TooDeep,
    /// The schema has no type that protobuf could hold.
    #[error("its type has no protobuf form")]
    NoForm,
}

/// A field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Field<'a> {
    /// Its number.
    pub(super) number: u32,
    /// What it holds.
    pub(super) value: Wire<'a>,
}

/// What a field holds, as far as the wire tells.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes.
    Fixed64(u64),
    /// Four bytes.
    Fixed32(u32),
    /// Text, bytes, a message, or numbers one after the other.
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    /// Bytes or a message.
    pub(super) fn bytes(self) -> Result<&'a [u8], Problem> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(Problem::WrongWireType("a message")),
        }
    }

    /// Text.
    pub(super) fn text(self) -> Result<&'a str, Problem> {
        match self {
            Wire::Bytes(bytes) => std::str::from_utf8(bytes).map_err(|_| Problem::NotText),
            _ => Err(Problem::WrongWireType("a string")),
        }
    }

    /// An `int64`.
    pub(super) fn integer(self) -> Result<i64, Problem> {
        match self {
            Wire::Varint(number) => Ok(number as i64),
            _ => Err(Problem::WrongWireType("an integer")),
        }
    }

    /// An `int32`: what is above its bits is cut, as every reader of protobuf does.
    pub(super) fn small_integer(self) -> Result<i32, Problem> {
        self.integer().map(|number| number as i32)
    }

    /// A `double`.
    pub(super) fn double(self) -> Result<f64, Problem> {
        match self {
            Wire::Fixed64(bits) => Ok(f64::from_bits(bits)),
            _ => Err(Problem::WrongWireType("a double")),
        }
    }

    /// Whether it is what a field has that was never set.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Wire::Varint(number) | Wire::Fixed64(number) => number == 0,
            Wire::Fixed32(number) => number == 0,
            Wire::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// Goes through a message field by field, up to the first that is broken.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of a whole message.
    pub(super) fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { left: message }
    }

    /// The next number of a packed list.
    pub(super) fn packed(&mut self) -> Option<Result<Wire<'a>, Problem>> {
        (!self.left.is_empty()).then(|| self.stop_at_problem(|reader| reader.varint().map(Wire::Varint)))
    }

    fn stop_at_problem<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let result = read(self);
        if result.is_err() {
            self.left = &[];
        }
        result
    }

    fn field(&mut self) -> Result<Field<'a>, Problem> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number));
        let number = number.ok_or(Problem::IllegalNumber(tag >> 3))?;
        let value = match (tag & 7) as u8 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Problem::Truncated)?;
                let (bytes, left) = self.left.split_at_checked(length).ok_or(Problem::Truncated)?;
                self.left = left;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            other => return Err(Problem::IllegalWireType(other)),
        };
        Ok(Field { number, value })
    }

    fn array<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], Problem> {
        let (bytes, left) = self.left.split_first_chunk().ok_or(Problem::Truncated)?;
        self.left = left;
        Ok(*bytes)
    }

    fn varint(&mut self) -> Result<u64, Problem> {
        let mut number = 0;
        for position in 0..10 {
            let [byte] = self.array()?;
            // The tenth byte holds the last bit.
            if position == 9 && byte > 1 {
                return Err(Problem::Overflow);
            }
            number |= u64::from(byte & 0x7f) << (7 * position);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Problem::Overflow)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.left.is_empty()).then(|| self.stop_at_problem(Reader::field))
    }
}
