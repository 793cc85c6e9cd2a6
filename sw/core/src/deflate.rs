//! Whether bytes are worth keeping deflated, and groups as they are kept.
//!
//! A sample decides, never the type. Each group is deflated on its own, so that one is read, sent
//! and inflated without its neighbours.

use miniz_oxide::{deflate::compress_to_vec, inflate::decompress_to_vec_with_limit};

use crate::content::GROUP;

/// Deflating must save at least one part in this many to be worth the receiver's time.
const SAVES_ONE_IN: usize = 10;
/// miniz level: 1 deflates ten times as fast as 6 in wasm and saves nearly as much.
const LEVEL: u8 = 1;

/// A group as it is kept and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Raw deflate (RFC 1951) or the bytes themselves.
    pub bytes: Vec<u8>,
    /// Which of the two: whether the receiver must inflate.
    pub deflated: bool,
}

/// A group that does not inflate to the length it must have. A bomb ends here: inflating stops at
/// that length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("group does not inflate to its length")]
pub struct BadDeflate;

/// Whether this sample of a resource says that deflating pays. One group of it is enough.
pub fn pays(sample: &[u8]) -> bool {
    let sample = &sample[..sample.len().min(GROUP as usize)];
    saves(sample.len(), compress_to_vec(sample, LEVEL).len())
}

/// A group as it is to be kept; `pays` is what the sample said.
pub fn keep(group: &[u8], pays: bool) -> Kept {
    if pays {
        let bytes = compress_to_vec(group, LEVEL);
        if saves(group.len(), bytes.len()) {
            return Kept {
                bytes,
                deflated: true,
            };
        }
    }
    Kept {
        bytes: group.to_vec(),
        deflated: false,
    }
}

/// The bytes of a kept group that is `len` long, at most a group.
pub fn inflate(kept: Kept, len: usize) -> Result<Vec<u8>, BadDeflate> {
    let bytes = if kept.deflated {
        decompress_to_vec_with_limit(&kept.bytes, len).map_err(|_| BadDeflate)?
    } else {
        kept.bytes
    };
    if bytes.len() == len {
        Ok(bytes)
    } else {
        Err(BadDeflate)
    }
}

fn saves(before: usize, after: usize) -> bool {
    after + before / SAVES_ONE_IN <= before && after < before
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut reader = blake3::Hasher::new().finalize_xof();
        let mut bytes = vec![0; len];
        reader.fill(&mut bytes);
        bytes
    }

    #[test]
    fn text_is_kept_deflated_and_comes_back() {
        let text = b"<svg xmlns='http://www.w3.org/2000/svg'/>".repeat(300);
        assert!(pays(&text));
        let kept = keep(&text, true);
        assert!(kept.deflated && kept.bytes.len() < text.len() / 2);
        assert_eq!(inflate(kept, text.len()).unwrap(), text);
    }

    #[test]
    fn noise_is_kept_as_it_is_whatever_it_was_called() {
        let noise = noise(GROUP as usize);
        assert!(!pays(&noise));
        let kept = keep(&noise, true);
        assert!(!kept.deflated);
        assert_eq!(inflate(kept, noise.len()).unwrap(), noise);
    }

    #[test]
    fn bomb_stops_at_the_length_of_a_group() {
        let bomb = Kept {
            bytes: compress_to_vec(&vec![0; 10 << 20], 9),
            deflated: true,
        };
        assert_eq!(inflate(bomb, GROUP as usize), Err(BadDeflate));
    }

    #[test]
    fn wrong_length_is_an_error_either_way() {
        let short = Kept {
            bytes: vec![1, 2],
            deflated: false,
        };
        assert_eq!(inflate(short, 3), Err(BadDeflate));
        let deflated = Kept {
            bytes: compress_to_vec(b"abc", 1),
            deflated: true,
        };
        assert_eq!(inflate(deflated, 4), Err(BadDeflate));
    }
}
