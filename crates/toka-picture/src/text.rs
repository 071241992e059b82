//! Texts of others: as long as there is room for them, and harmless.

/// What stands for characters that no document may have.
const REPLACEMENT: char = '\u{fffd}';

/// Cells of a terminal, or half-widths of a letter in print, that a text takes: two for what East Asia writes wide, and
/// for pictures. Nothing here knows a font; it has to be about right.
pub(crate) fn cells(text: &str) -> usize {
    text.chars().map(width).sum()
}

const fn width(character: char) -> usize {
    match character {
        '\u{1100}'..='\u{115f}'
        | '\u{2e80}'..='\u{a4cf}'
        | '\u{ac00}'..='\u{d7a3}'
        | '\u{f900}'..='\u{faff}'
        | '\u{fe30}'..='\u{fe6f}'
        | '\u{ff00}'..='\u{ff60}'
        | '\u{ffe0}'..='\u{ffe6}'
        | '\u{1f000}'..='\u{3fffd}' => 2,
        _ => 1,
    }
}

/// The text on one line, in at most `max` cells; a mark says where it was cut.
pub(crate) fn cut(text: &str, max: usize) -> String {
    let mut line = String::new();
    let mut taken = 0;
    for character in text.trim().chars() {
        let character = match character {
            control if control.is_control() => ' ',
            other => other,
        };
        taken += width(character);
        if taken > max {
            while cells(&line) + 1 > max && line.pop().is_some() {}
            line.push('…');
            break;
        }
        line.push(character);
    }
    line
}

/// Appends the text as SVG and HTML have it, between tags and between the quotes of an attribute.
pub(crate) fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            // XML 1.0 has no way to write most of these, not even by their numbers.
            control if control.is_control() => out.push(REPLACEMENT),
            '\u{fffe}' | '\u{ffff}' => out.push(REPLACEMENT),
            other => out.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_where_it_can_be_seen() {
        assert_eq!(cut("as it is", 8), "as it is");
        assert_eq!(cut("longer than it", 8), "longer …");
        assert_eq!(cut("語語語語", 8), "語語語語");
        assert_eq!(cut("語語語語語", 8), "語語語…");
        assert_eq!(cut(" two\nlines ", 20), "two lines");
        assert_eq!(cut("x", 0), "…");
    }

    #[test]
    fn what_documents_cannot_have_is_replaced() {
        let mut out = String::new();
        escape("<a b='c\"'>&\u{0}\u{1b}\u{ffff}\n", &mut out);
        let expected = "&lt;a b=&#39;c&quot;&#39;&gt;&amp;\u{fffd}\u{fffd}\u{fffd}\n";
        assert_eq!(out, expected);
    }
}
