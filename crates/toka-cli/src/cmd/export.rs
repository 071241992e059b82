//! `toka export`: events as JSON Lines that `toka import` reads.

use std::io::{BufWriter, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use futures::StreamExt as _;

use super::import::Line;
use crate::cli::{self, Consistency};
use crate::progress;
use crate::target::{Include, Listing, Target, Times};

pub(crate) async fn run(target: &Target, flags: cli::Export) -> Result<()> {
    let listing = Listing {
        after: flags.after,
        until: flags.until,
        times: Times::default(),
        filter: target.filter(flags.filter).await?,
        reverse: false,
        include: Include {
            payload: true,
            embedding: !flags.no_embedding,
        },
        consistency: Consistency::Linearizable,
    };
    let to_file = flags.file != Path::new("-");
    let mut out: Box<dyn std::io::Write + Send> = if to_file {
        let file = std::fs::File::create(&flags.file)
            .with_context(|| format!("cannot create {}", flags.file.display()))?;
        Box::new(BufWriter::new(file))
    } else {
        Box::new(BufWriter::new(std::io::stdout()))
    };
    let bar = progress::bar(0, "events");
    let mut records = target.list(listing);
    let model = target.embedding_model().await?;
    while let Some(record) = records.next().await {
        let record = record?;
        let mut line = Line::of(&record)?;
        if record.embedding.is_some() {
            line.embedding_model.clone_from(&model);
        }
        let mut line = serde_json::to_vec(&line)?;
        line.push(b'\n');
        out.write_all(&line)?;
        bar.inc(1);
    }
    out.flush()?;
    bar.finish_and_clear();
    if to_file {
        eprintln!(
            "{} events written to {}",
            bar.position(),
            flags.file.display()
        );
    }
    Ok(())
}
