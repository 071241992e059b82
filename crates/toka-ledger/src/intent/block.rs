//! Scans for a run of events at once, answered one by one.

use super::kernel::{BLOCK_QUERIES_MAX, Line};
use super::query::Query;
use super::shortlist::Shortlist;
use super::table::{Best, Table};

/// Rows of a shortlist that stay when it has no room for more.
const KEPT: usize = BLOCK_QUERIES_MAX + 1;

/// The scans of up to [`BLOCK_QUERIES_MAX`] queries. Its memory is used again by the next block.
///
/// Each answer is the one that a scan would give at that moment: rows that were pushed or set
/// since are scored again. At most one row is touched per answer, so a list of one more
/// than [`BLOCK_QUERIES_MAX`] rows holds the best of the others.
#[derive(Clone, Debug, Default)]
pub struct Block {
    queries: Vec<Line>,
    squares: Vec<u32>,
    bars: Vec<i64>,
    /// One for each query, and what is left of earlier blocks.
    shortlists: Vec<Shortlist>,
    number: u64,
}

impl Block {
    /// Without queries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Queries of the block.
    #[must_use]
    pub fn len(&self) -> usize {
        self.squares.len()
    }

    /// Without queries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.squares.is_empty()
    }

    /// Scans `table` for each of `queries`, at most [`BLOCK_QUERIES_MAX`], of the table's
    /// dimension. An answer reaches `query.bar(tau_q30)`.
    ///
    /// A table serves one block at a time.
    pub fn score(&mut self, table: &mut Table, queries: &[Query], tau_q30: u32) {
        assert!(queries.len() <= BLOCK_QUERIES_MAX, "a block is too long");
        self.queries.clear();
        self.squares.clear();
        self.bars.clear();
        for (index, query) in queries.iter().enumerate() {
            let bar = query.bar(tau_q30);
            self.queries.extend_from_slice(&query.lines);
            self.squares.push(query.square);
            self.bars.push(bar);
            let room = table.shortlist_room(KEPT);
            match self.shortlists.get_mut(index) {
                Some(shortlist) => shortlist.restart(bar, KEPT, room),
                None => self.shortlists.push(Shortlist::new(bar, KEPT, room)),
            }
        }
        self.number = table.begin_block();
        let shortlists = &mut self.shortlists[..queries.len()];
        table.scan(&self.queries, &self.squares, shortlists);
    }

    /// The best row of the table as it is now, if its score reaches the query's bar: what
    /// [`Table::best_above`] says.
    #[must_use]
    pub fn best_above(&self, table: &Table, index: usize) -> Option<Best> {
        let bar = self.bars[index];
        let lines = self.queries.len() / self.len();
        let query = &self.queries[index * lines..][..lines];
        let Some(touched) = table.touched_since(self.number) else {
            return table.best_for(query, self.squares[index], bar);
        };
        let best = touched.iter().fold(None, |best, row| {
            let row = *row as usize;
            Best::better(best, row, table.score_of(row, query), bar)
        });
        let score = |row| table.score_of(row, query);
        self.shortlists[index].best(bar, best, touched, score)
    }
}
