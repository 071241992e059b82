//! Scoring the events of one call of `apply` in blocks.
//!
//! The table of directions is read once for up to [`BLOCK_QUERIES_MAX`] events. The events are then
//! applied one by one; for each, only the rows that changed since are scored again, so that the result
//! is that of scoring each event alone.

use std::ops::Range;

use super::block::Block;
use super::kernel::BLOCK_QUERIES_MAX;
use super::query::Query;
use super::space::Space;
use crate::core::Embedding;

/// The embeddings that are about to be applied.
#[derive(Debug, Default)]
pub(super) struct Lookahead {
    /// In the order in which they are applied, if they are.
    embeddings: Vec<Embedding>,
    /// The next one.
    next: usize,
    /// Which of them the block has scores of.
    scored: Range<usize>,
    /// Those of the block, and what is left of longer blocks.
    queries: Vec<Query>,
    block: Block,
    /// Reused for each event that is in no block.
    alone: Query,
    /// Reused for each event: `event - mean`.
    relative: Vec<i32>,
}

impl Lookahead {
    /// Replaces what was to come.
    pub(super) fn expect(&mut self, embeddings: Vec<Embedding>) {
        self.embeddings = embeddings;
        self.next = 0;
        self.invalidate();
    }

    /// Forgets those that cannot come, since they are of another dimension than the vault's. Before the
    /// first has come.
    pub(super) fn keep_dimension(&mut self, dimension: usize) {
        debug_assert_eq!(self.next, 0, "places would move");
        self.embeddings
            .retain(|embedding| embedding.dimension() == dimension);
        self.invalidate();
    }

    /// Forgets scores: the table was made anew.
    pub(super) fn invalidate(&mut self) {
        self.scored = 0..0;
    }

    /// The row that `embedding` joins, if there is one that is similar enough, or no room for another.
    pub(super) fn find(&mut self, space: &mut Space, embedding: &Embedding) -> Option<usize> {
        // Events of refused commits and duplicates were expected and do not come.
        let at = self.embeddings[self.next..]
            .iter()
            .position(|expected| is_same(expected, embedding))
            .map(|skipped| self.next + skipped);
        self.next = at.map_or(self.next, |at| at + 1);
        let is_full = space.is_full();
        match at {
            Some(at) if !is_full && self.is_in_block(at) => self.find_in_block(space, at),
            _ => {
                space.relative(embedding, &mut self.relative);
                self.alone.set(&self.relative);
                let query = &self.alone;
                let table = space.table.as_ref().expect("a replay scores no event");
                let best = if is_full {
                    table.best(query)
                } else if query.is_zero() {
                    None
                } else {
                    table.best_above(query, query.bar(space.parameters.tau_q30))
                };
                best.map(|best| best.row)
            }
        }
    }

    /// Whether there is a block with the embedding at `at`, or one is worth making.
    fn is_in_block(&self, at: usize) -> bool {
        self.scored.contains(&at) || at + 1 < self.embeddings.len()
    }

    fn find_in_block(&mut self, space: &mut Space, at: usize) -> Option<usize> {
        if !self.scored.contains(&at) {
            let until = self.embeddings.len().min(at + BLOCK_QUERIES_MAX);
            for (index, embedding) in self.embeddings[at..until].iter().enumerate() {
                space.relative(embedding, &mut self.relative);
                match self.queries.get_mut(index) {
                    Some(query) => query.set(&self.relative),
                    None => self.queries.push(Query::new(&self.relative)),
                }
            }
            let tau_q30 = space.parameters.tau_q30;
            let table = space.table.as_mut().expect("a replay scores no event");
            let queries = &self.queries[..until - at];
            self.block.score(table, queries, tau_q30);
            self.scored = at..until;
        }
        let index = at - self.scored.start;
        if self.queries[index].is_zero() {
            return None;
        }
        let table = space.table.as_ref().expect("a replay scores no event");
        self.block.best_above(table, index).map(|best| best.row)
    }
}

/// Equality. Mostly the two share their memory, which then need not be compared.
fn is_same(a: &Embedding, b: &Embedding) -> bool {
    let (left, right): (&[u8], &[u8]) = (a.as_bytes(), b.as_bytes());
    std::ptr::eq(left, right) || a == b
}
