//! The detach keys in a client's stream of input.

/// Watches for a sequence of bytes, holding back what may be its beginning.
#[derive(Debug)]
pub(super) struct DetachKeys {
    keys: Vec<u8>,
    matched: usize,
}

/// What came of some input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// These bytes are for the process.
    Pass(Vec<u8>),
    /// All of the input is for the process as it is.
    PassAll,
    /// These bytes are for the process, and then the client wants to go.
    Detach(Vec<u8>),
}

impl DetachKeys {
    /// Takes the sequence; an empty one never matches.
    pub(super) fn new(keys: Vec<u8>) -> Self {
        Self { keys, matched: 0 }
    }

    /// Looks at more input.
    pub(super) fn feed(&mut self, input: &[u8]) -> Input {
        let Some(&first) = self.keys.first() else {
            return Input::PassAll;
        };
        if self.matched == 0 && !input.contains(&first) {
            return Input::PassAll;
        }
        let mut passed = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            if self.keys.get(self.matched) != Some(&byte) && self.matched > 0 {
                // What was held back was input after all, and this byte may begin the sequence anew.
                passed.extend_from_slice(&self.keys[..self.matched]);
                self.matched = 0;
            }
            if self.keys.get(self.matched) == Some(&byte) {
                self.matched += 1;
                if self.matched == self.keys.len() {
                    return Input::Detach(passed);
                }
            } else {
                passed.push(byte);
            }
        }
        Input::Pass(passed)
    }

    /// Returns what is held back when the input has ended.
    pub(super) fn finish(&mut self) -> Vec<u8> {
        self.keys[..std::mem::take(&mut self.matched)].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn keys() -> DetachKeys {
        DetachKeys::new(vec![16, 17])
    }

    #[test]
    fn the_sequence_detaches_across_reads() {
        let mut keys = keys();
        assert_eq!(keys.feed(b"ab\x10"), Input::Pass(b"ab".to_vec()));
        assert_eq!(keys.feed(b"\x11cd"), Input::Detach(Vec::new()));
    }

    #[test]
    fn a_beginning_that_does_not_complete_is_input() {
        let mut keys = keys();
        assert_eq!(keys.feed(b"\x10"), Input::Pass(Vec::new()));
        assert_eq!(keys.feed(b"x"), Input::Pass(b"\x10x".to_vec()));
        assert_eq!(keys.feed(b"\x10\x10\x11"), Input::Detach(b"\x10".to_vec()));
    }

    #[test]
    fn the_end_of_input_releases_what_is_held_back() {
        let mut keys = keys();
        assert_eq!(keys.feed(b"a\x10"), Input::Pass(b"a".to_vec()));
        assert_eq!(keys.finish(), [16]);
    }

    proptest! {
        #[test]
        fn without_the_sequence_every_byte_passes_in_order(chunks in proptest::collection::vec(proptest::collection::vec(14_u8..=17, 0..8), 0..8)) {
            let whole = chunks.concat();
            prop_assume!(!whole.windows(2).any(|pair| pair == [16, 17]));
            let mut keys = keys();
            let mut passed = Vec::new();
            for chunk in &chunks {
                match keys.feed(chunk) {
                    Input::Pass(bytes) => passed.extend(bytes),
                    Input::PassAll => passed.extend(chunk),
                    Input::Detach(_) => prop_assert!(false, "no sequence was typed"),
                }
            }
            passed.extend(keys.finish());
            prop_assert_eq!(passed, whole);
        }
    }
}
