//! A graph drawn in lines of text, as `git log --graph` does.
//!
//! The newest event is on top, and lines lead down to the parents. Each column is a line that waits for an event:
//! `+` is where lines meet, `.` where one begins, `'` where one ends; a `|` between dashes is a line that passes behind
//! others. `:` under an event leads to parents that are not shown.

use anyhow::{Result, bail};

use crate::failure::Failure;

/// Columns of a drawing; nobody can follow as many.
const COLUMNS_MAX: usize = 200;

/// An event as it is drawn.
pub(super) struct Drawn {
    pub(super) sequence: u64,
    /// Sequences of those of its parents that are drawn too, the newest first.
    pub(super) parents: Vec<u64>,
    /// How many parents are not.
    pub(super) hidden: usize,
    /// What stands for it.
    pub(super) mark: char,
    pub(super) label: String,
}

/// Draws `events`, which come with the newest first; hands each line to `line`.
pub(super) fn draw(events: &[Drawn], line: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
    // What each column waits for.
    let mut columns: Vec<Option<u64>> = Vec::new();
    for (index, event) in events.iter().enumerate() {
        let waiting = columns.iter().position(|of| *of == Some(event.sequence));
        let at = match waiting {
            Some(at) => at,
            None => free(&mut columns),
        };
        let others = (at + 1..columns.len()).filter(|of| columns[*of] == Some(event.sequence));
        let ending: Vec<_> = others.map(|column| (column, '\'')).collect();
        if !ending.is_empty() {
            line(&joint(&columns, (at, '+'), &ending))?;
        }
        for (column, _) in ending {
            columns[column] = None;
        }
        columns[at] = Some(event.sequence);
        let hidden = match event.hidden {
            0 => String::new(),
            1 => "  (+1 parent)".to_owned(),
            count => format!("  (+{count} parents)"),
        };
        let row = row(&columns, at, event.mark);
        line(&format!("{row}  {}{hidden}", event.label))?;

        columns[at] = None;
        let beginning = begin(&mut columns, at, &event.parents);
        if !beginning.is_empty() {
            let mark = if columns[at].is_some() { '+' } else { '\'' };
            line(&joint(&columns, (at, mark), &beginning))?;
        }
        // What follows in the same column is no parent of this.
        let is_last = index + 1 == events.len();
        if event.parents.is_empty() && (event.hidden > 0 || !is_last) {
            let mark = if event.hidden > 0 { ':' } else { ' ' };
            line(&row_alone(&columns, at, mark))?;
        }
        while columns.last().is_some_and(Option::is_none) {
            columns.pop();
        }
        if columns.len() > COLUMNS_MAX {
            bail!(Failure::Refused(format!(
                "the graph is more than {COLUMNS_MAX} columns wide: show less of it, or write it with \
                 --format dot, mermaid or json"
            )));
        }
    }
    Ok(())
}

/// Lets columns wait for the parents of the event in column `at`, which is free. Returns where its lines lead beside
/// that column, and how they are marked there.
fn begin(columns: &mut Vec<Option<u64>>, at: usize, parents: &[u64]) -> Vec<(usize, char)> {
    let mut marks = Vec::new();
    for parent in parents {
        if let Some(known) = columns.iter().position(|of| *of == Some(*parent)) {
            marks.push((known, '+'));
        } else if columns[at].is_none() {
            columns[at] = Some(*parent);
        } else {
            let place = free(columns);
            columns[place] = Some(*parent);
            marks.push((place, '.'));
        }
    }
    marks
}

/// A column that waits for nothing.
fn free(columns: &mut Vec<Option<u64>>) -> usize {
    columns.iter().position(Option::is_none).unwrap_or_else(|| {
        columns.push(None);
        columns.len() - 1
    })
}

/// The columns with `mark` in column `at`.
fn row(columns: &[Option<u64>], at: usize, mark: char) -> String {
    let mut row = String::with_capacity(2 * columns.len());
    for (column, of) in columns.iter().enumerate() {
        if column > 0 {
            row.push(' ');
        }
        row.push(match of {
            _ if column == at => mark,
            Some(_) => '|',
            None => ' ',
        });
    }
    row.truncate(row.trim_end().len());
    row
}

/// The same; a line of its own, which is never empty.
fn row_alone(columns: &[Option<u64>], at: usize, mark: char) -> String {
    let row = row(columns, at, mark);
    if row.is_empty() { " ".to_owned() } else { row }
}

/// The columns with a line across, from column `at.0` to all of `marks`.
fn joint(columns: &[Option<u64>], at: (usize, char), marks: &[(usize, char)]) -> String {
    let touched = || marks.iter().map(|(column, _)| *column).chain([at.0]);
    let (first, last) = (
        touched().min().unwrap_or(at.0),
        touched().max().unwrap_or(at.0),
    );
    let mut row = String::with_capacity(2 * columns.len());
    for (column, of) in columns.iter().enumerate() {
        if column > 0 {
            let is_inside = column > first && column <= last;
            row.push(if is_inside { '-' } else { ' ' });
        }
        let mark = marks
            .iter()
            .chain([&at])
            .find(|(marked, _)| *marked == column);
        row.push(match (mark, of) {
            (Some((_, mark)), _) => *mark,
            (None, Some(_)) => '|',
            (None, None) if column > first && column < last => '-',
            (None, None) => ' ',
        });
    }
    row.truncate(row.trim_end().len());
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The drawing of events with these parents, the newest first; all are drawn but those that are 0.
    fn drawing(events: &[(u64, &[u64])]) -> Vec<String> {
        let events: Vec<_> = events
            .iter()
            .map(|(sequence, parents)| Drawn {
                sequence: *sequence,
                parents: parents
                    .iter()
                    .copied()
                    .filter(|parent| *parent > 0)
                    .collect(),
                hidden: parents.iter().filter(|parent| **parent == 0).count(),
                mark: '*',
                label: sequence.to_string(),
            })
            .collect();
        let mut lines = Vec::new();
        let drawn = draw(&events, &mut |line| {
            lines.push(line.to_owned());
            Ok(())
        });
        drawn.expect("narrow");
        lines
    }

    #[test]
    fn chain_is_one_column() {
        assert_eq!(
            drawing(&[(3, &[2]), (2, &[1]), (1, &[])]),
            ["*  3", "*  2", "*  1"]
        );
    }

    #[test]
    fn diamond_opens_and_closes() {
        let events: [(u64, &[u64]); 4] = [(4, &[3, 2]), (3, &[1]), (2, &[1]), (1, &[])];
        assert_eq!(
            drawing(&events),
            ["*  4", "+-.", "* |  3", "| *  2", "+-'", "*  1"]
        );
    }

    #[test]
    fn heads_that_share_a_parent_are_columns_that_meet() {
        let events: [(u64, &[u64]); 4] = [(4, &[1]), (3, &[1]), (2, &[1]), (1, &[])];
        assert_eq!(
            drawing(&events),
            ["*  4", "| *  3", "+-'", "| *  2", "+-'", "*  1"]
        );
    }

    #[test]
    fn lines_pass_behind_others() {
        let events: [(u64, &[u64]); 5] = [(5, &[4, 2]), (4, &[3, 1]), (3, &[]), (2, &[]), (1, &[])];
        assert_eq!(
            drawing(&events),
            [
                "*  5", "+-.", "* |  4", "+-|-.", "* | |  3", "  | |", "  * |  2", "    |",
                "    *  1"
            ]
        );
    }

    #[test]
    fn roots_are_set_apart_and_hidden_parents_are_said() {
        let events: [(u64, &[u64]); 3] = [(3, &[]), (2, &[0, 0]), (1, &[0])];
        assert_eq!(
            drawing(&events),
            [
                "*  3",
                " ",
                "*  2  (+2 parents)",
                ":",
                "*  1  (+1 parent)",
                ":"
            ]
        );
    }

    #[test]
    fn too_wide_a_graph_is_refused_with_what_to_do() {
        let wide = COLUMNS_MAX as u64 + 2;
        let event = Drawn {
            sequence: wide,
            parents: (1..wide).rev().collect(),
            hidden: 0,
            mark: '*',
            label: String::new(),
        };
        let refused = draw(&[event], &mut |_| Ok(())).expect_err("too wide");
        assert!(refused.to_string().contains("--format dot"), "{refused}");
    }
}
