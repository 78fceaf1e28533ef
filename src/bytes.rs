//! Arguments as the system gives them, carried as text: every sequence of bytes has one text, and comes back from it unchanged.
//! Pure.
//!
//! Text is itself. A byte that is no part of UTF-8 becomes one of 128 characters of a private use area; these characters
//! themselves, which nobody types, become their four bytes in the same way.

use std::{
    ffi::{OsStr, OsString},
    os::unix::ffi::{OsStrExt, OsStringExt},
};

/// Stands for byte 0x80; the 127 characters behind it for the bytes behind that.
const FIRST: u32 = 0x0010_FF00;

/// As text.
pub fn to_text(bytes: &OsStr) -> String {
    let mut text = String::new();
    for chunk in bytes.as_bytes().utf8_chunks() {
        for letter in chunk.valid().chars() {
            if stands_for(letter).is_some() {
                let mut bytes = [0; 4];
                text.extend(letter.encode_utf8(&mut bytes).bytes().filter_map(of));
            } else {
                text.push(letter);
            }
        }
        text.extend(chunk.invalid().iter().copied().filter_map(of));
    }
    text
}

/// The bytes of [`to_text`].
pub fn to_bytes(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    for letter in text.chars() {
        match stands_for(letter) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(letter.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    OsString::from_vec(bytes)
}

/// A byte that is no ASCII.
fn of(byte: u8) -> Option<char> {
    char::from_u32(FIRST + u32::from(byte.checked_sub(0x80)?))
}

fn stands_for(letter: char) -> Option<u8> {
    let offset = u32::from(letter).checked_sub(FIRST)?;
    u8::try_from(offset).ok().filter(|offset| *offset < 0x80).map(|offset| offset + 0x80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back_unchanged(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = OsString::from_vec(bytes);
            prop_assert_eq!(to_bytes(&to_text(&bytes)), bytes);
        }

        #[test]
        fn text_is_itself_unless_it_has_what_stands_for_bytes(text in "\\PC{0,20}") {
            prop_assume!(!text.chars().any(|letter| stands_for(letter).is_some()));
            prop_assert_eq!(to_text(OsStr::new(&text)), text);
        }
    }

    #[test]
    fn what_stands_for_a_byte_may_be_given_itself() {
        let given = OsString::from("a\u{10FF05}b");
        assert_ne!(to_text(&given), "a\u{10FF05}b");
        assert_eq!(to_bytes(&to_text(&given)), given);
        assert_eq!(to_text(&OsString::from_vec(b"--set=a=\xff".to_vec())).chars().count(), 9);
    }
}
