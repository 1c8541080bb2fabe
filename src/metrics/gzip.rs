//! A gzip stream whose greater part is compressed beforehand.
//!
//! What is appended later is a stored block of the same stream: appending costs little more than a copy. Every client can
//! read it, because it is a single member (RFC 1952) of ordinary blocks (RFC 1951).

use std::io::Write;
use std::mem;

use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;

/// Magic number, deflate, no flags, no time, no hints, an unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The first byte of a stored block that is the last one.
const LAST_STORED_BLOCK: u8 = 1;

/// Bytes around the content of the last block.
const FRAME: usize = 5 + 8;

/// The beginning of a gzip stream.
pub(super) struct Beginning {
    stream: Vec<u8>,
    checksum: Hasher,
    length: usize,
}

impl Beginning {
    /// Compresses these texts, one after the other.
    pub(super) fn of(texts: [&str; 2]) -> Self {
        const TAKES_ALL: &str = "a Vec takes all";
        let mut encoder = DeflateEncoder::new(HEADER.to_vec(), Compression::default());
        let mut checksum = Hasher::new();
        for text in texts {
            encoder.write_all(text.as_bytes()).expect(TAKES_ALL);
            checksum.update(text.as_bytes());
        }
        // Ends at the boundary of a byte. The encoder's own end of the stream goes to the Vec that takes its place.
        encoder.flush().expect(TAKES_ALL);
        let mut stream = mem::take(encoder.get_mut());
        stream.shrink_to_fit();
        Self { stream, checksum, length: texts.iter().map(|text| text.len()).sum() }
    }

    /// The whole stream, with this short text at its end: at most 64 KiB.
    pub(super) fn followed_by(&self, end: &str) -> Vec<u8> {
        let length = u16::try_from(end.len()).expect("the text is short");
        let mut checksum = self.checksum.clone();
        checksum.update(end.as_bytes());
        let whole_length = u32::try_from(self.length + end.len()).expect("an exposition is far below 4 GiB");
        let mut stream = Vec::with_capacity(self.stream.len() + end.len() + FRAME);
        stream.extend_from_slice(&self.stream);
        stream.push(LAST_STORED_BLOCK);
        stream.extend_from_slice(&length.to_le_bytes());
        stream.extend_from_slice(&(!length).to_le_bytes());
        stream.extend_from_slice(end.as_bytes());
        stream.extend_from_slice(&checksum.finalize().to_le_bytes());
        stream.extend_from_slice(&whole_length.to_le_bytes());
        stream
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_texts_come_back_as_they_were(first in ".{0,3000}", second in ".{0,200}", end in ".{0,200}") {
            let stream = Beginning::of([&first, &second]).followed_by(&end);
            let mut text = String::new();
            // One member alone: the decoder also checks the checksum and the length.
            let mut decoder = GzDecoder::new(stream.as_slice());
            decoder.read_to_string(&mut text).expect("a valid stream");
            prop_assert_eq!(text, [first, second, end].concat());
            prop_assert!(decoder.into_inner().is_empty());
        }
    }
}
