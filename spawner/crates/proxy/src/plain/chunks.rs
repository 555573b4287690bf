//! Reading a chunked body (RFC 9112, 7.1), byte by byte where it is framing and by the piece where it is data.
//!
//! Strict: hexadecimal digits, line ends of two bytes. Extensions and trailers are read over and go no further.

/// Digits of a chunk's size; more than any body needs, and no overflow.
const DIGITS_MAX: u32 = 15;
/// Bytes of extensions and trailers in one body.
const ASIDE_BYTES_MAX: u32 = 16 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// So many digits of the size have come.
    Size(u32),
    Extension,
    /// The second byte of the line end after the size.
    SizeEnd,
    Data,
    /// The two bytes after the data.
    DataEnd,
    DataEnd2,
    /// The start of a trailer, or of the last line.
    Trailers,
    Trailer,
    TrailerEnd,
    /// The very last byte.
    End,
    Done,
}

#[derive(Debug)]
pub(super) struct Chunks {
    at: At,
    left: u64,
    aside: u32,
}

/// The body does not follow the rules, so nobody knows where it ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl Chunks {
    pub(super) fn new() -> Self {
        Self { at: At::Size(0), left: 0, aside: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.at == At::Done
    }

    /// Reads on, and gives each piece of data to `data`; how many bytes belonged to the body.
    pub(super) fn read(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<usize, Malformed> {
        let mut place = 0;
        while let Some(rest) = bytes.get(place..)
            && let Some(byte) = rest.first().copied()
            && self.at != At::Done
        {
            if self.at == At::Data {
                let length = usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
                data(&rest[..length]);
                self.left -= length as u64;
                place += length;
                if self.left == 0 {
                    self.at = At::DataEnd;
                }
                continue;
            }
            place += 1;
            self.step(byte)?;
        }
        Ok(place)
    }

    fn step(&mut self, byte: u8) -> Result<(), Malformed> {
        if matches!(self.at, At::Extension | At::Trailers | At::Trailer) {
            self.aside += 1;
            if self.aside > ASIDE_BYTES_MAX {
                return Err(Malformed);
            }
        }
        self.at = match (self.at, byte) {
            (At::Size(digits), _) if byte.is_ascii_hexdigit() && digits < DIGITS_MAX => {
                let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
                self.left = self.left * 16 + u64::from(digit);
                At::Size(digits + 1)
            }
            (At::Size(1..), b'\r') | (At::Extension, b'\r') => At::SizeEnd,
            (At::Size(1..), b';') => At::Extension,
            // A lone line end within an extension is where readers differ.
            (At::Extension, _) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => At::Extension,
            (At::SizeEnd, b'\n') => {
                if self.left == 0 {
                    At::Trailers
                } else {
                    At::Data
                }
            }
            (At::DataEnd, b'\r') => At::DataEnd2,
            (At::DataEnd2, b'\n') => At::Size(0),
            (At::Trailers, b'\r') => At::End,
            (At::Trailers | At::Trailer, _) if byte == b'\t' || (byte >= b' ' && byte != 0x7f) => At::Trailer,
            (At::Trailer, b'\r') => At::TrailerEnd,
            (At::TrailerEnd, b'\n') => At::Trailers,
            (At::End, b'\n') => At::Done,
            _ => return Err(Malformed),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data and the length of the body, read in pieces of so many bytes.
    fn read(text: &str, piece: usize) -> Result<(String, usize, bool), Malformed> {
        let mut chunks = Chunks::new();
        let (mut data, mut length) = (Vec::new(), 0);
        for bytes in text.as_bytes().chunks(piece) {
            length += chunks.read(bytes, |bytes| data.extend_from_slice(bytes))?;
        }
        Ok((String::from_utf8(data).unwrap(), length, chunks.is_done()))
    }

    #[test]
    fn chunks_are_the_same_however_they_arrive() {
        let text = "5\r\nhello\r\n00A;x=\"y\"\r\n world\r\n!!\r\n0\r\nX-Sum: 1\r\nY: 2\r\n\r\nNEXT";
        for piece in 1..=text.len() {
            let (data, length, done) = read(text, piece).unwrap();
            assert_eq!((data.as_str(), length, done), ("hello world\r\n!!", text.len() - 4, true), "{piece}");
        }
        assert_eq!(read("0\r\n\r\n", 1), Ok((String::new(), 5, true)));
        assert_eq!(read("5\r\nhel", 2), Ok(("hel".to_owned(), 6, false)));
    }

    #[test]
    fn what_readers_disagree_on_is_refused() {
        for text in [
            "5\nhello\r\n",
            "5\r\nhello\n",
            "5\r\nhelloX",
            " 5\r\nhello",
            "5 \r\nhello",
            "+5\r\nhello",
            "0x5\r\nhello",
            "-1\r\n",
            "\r\n",
            ";x\r\n",
            "5;x\ny\r\nhello",
            "5;x\ry\r\nhello",
            "fffffffffffffffff\r\n",
            "0\r\nX: 1\n\r\n",
            "0\r\n\n",
            "0\n\n",
            "5\0\r\nhello",
        ] {
            for piece in 1..=text.len() {
                assert_eq!(read(text, piece), Err(Malformed), "{text:?} in pieces of {piece}");
            }
        }
        let endless = format!("1;{}", "x".repeat(1 << 20));
        assert_eq!(read(&endless, 4096), Err(Malformed));
    }
}
