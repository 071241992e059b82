//! Bounded text.

/// The longest prefix of `text` of at most `bytes_max` bytes that ends at a character.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cut_ends_at_a_character() {
        let cuts = [0, 1, 2, 3, 4, 9].map(|bytes_max| cut("aé\u{1F600}", bytes_max));
        assert_eq!(cuts, ["", "a", "a", "aé", "aé", "aé\u{1F600}"]);
    }
}
