//! Words that say little about a topic.

/// Whether `word`, in lower case, is an English function word, or the summary's word for a number.
pub(super) fn is_stopword(word: &str) -> bool {
    STOPWORDS.binary_search(&word).is_ok()
}

/// Sorted.
#[rustfmt::skip]
const STOPWORDS: &[&str] = &[
    "a", "about", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been",
    "being", "both", "but", "by", "bytes", "can", "cant", "could", "d", "did", "do", "does", "don",
    "done", "dont", "down", "each", "for", "from", "had", "has", "have", "having", "he", "her",
    "here", "hers", "him", "his", "how", "i", "if", "im", "in", "into", "is", "isnt", "it", "its",
    "ive", "just", "let", "lets", "ll", "m", "may", "me", "might", "mine", "more", "most", "must",
    "my", "no", "nor", "not", "number", "of", "on", "only", "onto", "or", "other", "our", "ours",
    "out", "over", "own", "please", "re", "s", "same", "shall", "she", "should", "so", "some",
    "such", "t", "than", "that", "thats", "the", "their", "theirs", "them", "then", "there",
    "these", "they", "this", "those", "to", "too", "under", "up", "us", "ve", "very", "was", "we",
    "were", "what", "whats", "when", "where", "which", "who", "whom", "whose", "why", "will",
    "with", "would", "yes", "you", "your", "yours",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopwords_are_sorted_so_that_all_are_found() {
        assert!(STOPWORDS.is_sorted());
        assert!(STOPWORDS.iter().all(|word| is_stopword(word)));
        assert!(!is_stopword("payment"));
    }
}
