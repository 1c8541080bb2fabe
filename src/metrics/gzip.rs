//! A gzip stream whose greater part is compressed beforehand.
//!
//! What is appended later is a stored block of the same stream: appending costs little more than a copy. Every client can
//! read it, because it is a single member (RFC 1952) of ordinary blocks (RFC 1951).

use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};

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

/// A match may lie so far back, as a power of two: as far as an exposition is long. The compressor's memory grows with it.
const WINDOW_BITS: u8 = 13;

/// Compresses texts. It is kept, because it needs 160 KiB.
pub(super) struct Compressor(Compress);

impl Compressor {
    pub(super) fn new() -> Self {
        Self(Compress::new_with_window_bits(Compression::default(), false, WINDOW_BITS))
    }

    /// Compresses these texts, one after the other.
    pub(super) fn compress(&mut self, texts: [&str; 2]) -> Beginning {
        const TAKES_ALL: &str = "there is room for it";
        let Self(compressor) = self;
        compressor.reset();
        let length: usize = texts.iter().map(|text| text.len()).sum();
        // The compressor writes into what is free: more than zlib's `deflateBound`, for what cannot be compressed at all.
        let mut stream = Vec::with_capacity(length + length / 4 + 128);
        stream.extend_from_slice(&HEADER);
        let mut checksum = Hasher::new();
        for text in texts {
            compressor.compress_vec(text.as_bytes(), &mut stream, FlushCompress::None).expect(TAKES_ALL);
            checksum.update(text.as_bytes());
        }
        // Ends at the boundary of a byte.
        compressor.compress_vec(&[], &mut stream, FlushCompress::Sync).expect(TAKES_ALL);
        stream.shrink_to_fit();
        Beginning { stream, checksum, length }
    }
}

impl Beginning {
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
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_texts_come_back_as_they_were(first in ".{0,3000}", second in ".{0,200}", end in ".{0,200}") {
            let mut compressor = Compressor::new();
            compressor.compress([&second, &end]);
            let stream = compressor.compress([&first, &second]).followed_by(&end);
            let mut text = String::new();
            // One member alone: the decoder also checks the checksum and the length.
            let mut decoder = GzDecoder::new(stream.as_slice());
            decoder.read_to_string(&mut text).expect("a valid stream");
            prop_assert_eq!(text, [first, second, end].concat());
            prop_assert!(decoder.into_inner().is_empty());
        }
    }
}
