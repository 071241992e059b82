//! A vault whose rows were damaged: to open it ends in a vault or an error, and so does every read; `verify` ends in a
//! report, also where the checksums of the damaged rows are right.

use std::sync::{Arc, OnceLock};

use arbitrary::{Result, Unstructured};
use toka_ledger::Ledger;
use toka_ledger::engine::memory::MemoryEngine;
use toka_ledger::engine::{Batch, Direction, Durability, Engine, Table};
use toka_ledger::read::{Query, Selector};
use toka_ledger::store::checksum;
use toka_ledger::verify::verify;
use toka_ledger::{Error, Filter};

use crate::apply::Replica;
use crate::{Seed, noise, rows};

type Row = (Table, Vec<u8>, Vec<u8>);

fn sound() -> &'static [Row] {
    static ROWS: OnceLock<Vec<Row>> = OnceLock::new();
    ROWS.get_or_init(|| rows::vault().rows())
}

/// See above.
pub fn run(data: &[u8]) {
    let mut input = Unstructured::new(data);
    // An input that ends early has said enough.
    let _ = damage(&mut input);
}

fn damage(input: &mut Unstructured<'_>) -> Result<()> {
    let mut rows = sound().to_vec();
    // Bits rot without setting checksums right.
    let is_sealed = input.arbitrary()?;
    for _ in 0..input.int_in_range(1_u8..=4)? {
        let at = input.int_in_range(0..=rows.len() - 1)?;
        change(input, &mut rows, at, is_sealed)?;
    }
    let engine = Arc::new(MemoryEngine::new());
    let mut batch = Batch::new();
    for (table, key, value) in rows {
        batch.put(table, key, value);
    }
    engine
        .write(batch, Durability::Volatile)
        .expect("memory takes everything");
    match Ledger::read_only(Arc::clone(&engine) as Arc<dyn Engine>) {
        Ok((reader, _)) => {
            verify(&reader, &mut |_| ()).expect("memory can be read");
        }
        Err(error) => assert!(is_told(&error), "{error}"),
    }
    if !is_sealed {
        match Replica::open(engine) {
            Ok(replica) => read(&replica),
            Err(error) => assert!(is_told(&error), "{error}"),
        }
    }
    Ok(())
}

fn change(
    input: &mut Unstructured<'_>,
    rows: &mut Vec<Row>,
    at: usize,
    is_sealed: bool,
) -> Result<()> {
    let is_alone = rows.len() == 1;
    let (table, key, value) = &mut rows[at];
    match input.int_in_range(0_u8..=9)? {
        0 if !is_alone => {
            rows.remove(at);
            return Ok(());
        }
        1 => value.truncate(input.int_in_range(0..=value.len())?),
        2 if !key.is_empty() => {
            let byte = input.int_in_range(0..=key.len() - 1)?;
            key[byte] ^= 1 << input.int_in_range(0_u8..=7)?;
        }
        3 => value.extend_from_slice(&input.arbitrary::<[u8; 3]>()?),
        _ if !value.is_empty() => {
            let byte = input.int_in_range(0..=value.len() - 1)?;
            value[byte] = input.arbitrary()?;
        }
        _ => {}
    }
    let has_checksum = matches!(
        table,
        Table::Headers | Table::Payloads | Table::Embeddings | Table::Clusters | Table::Meta
    );
    if is_sealed && has_checksum {
        value.truncate(value.len().saturating_sub(4));
        checksum::seal(key, value);
    }
    Ok(())
}

fn is_told(error: &Error) -> bool {
    error.is_damage() || error.is_beyond_build()
}

fn read(replica: &Replica) {
    let reader = replica.ledger.reader();
    let position = reader.position();
    for sequence in 0..=position.sequence.min(20) {
        if let Err(error) = reader.header(&Selector::Sequence(sequence)) {
            assert!(is_told(&error), "{error}");
        }
    }
    for prefix in ["", "auth"] {
        let filter = Filter {
            kind_prefixes: vec![prefix.to_owned()],
            ..Filter::default()
        };
        let page = reader.list(&Query {
            after: 0,
            until: u64::MAX,
            filter,
            direction: Direction::Backward,
            limit: 20,
        });
        if let Err(error) = page {
            assert!(is_told(&error), "{error}");
        }
    }
}

/// Noise: the bytes mean nothing but to this target.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    (0..8)
        .map(|at| (format!("noise-{at}"), noise(at, 40)))
        .collect()
}
