//! `toka context`: named clusters.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::cli::{ContextCommand, Format, Global};
use crate::context::{Contexts, Entry, Tls, default_path};
use crate::output;

pub(crate) fn run(global: &Global, command: ContextCommand, format: Format) -> Result<()> {
    let path = default_path()?;
    let mut contexts = Contexts::read(&path)?;
    match command {
        ContextCommand::List => return list(&contexts, format),
        ContextCommand::Set { name, endpoints } => {
            let entry = Entry {
                endpoints,
                tls: tls(global)?,
                token_file: absolute(global.token_file.as_ref())?,
            };
            contexts.contexts.insert(name.clone(), entry);
            contexts.current.get_or_insert(name);
        }
        ContextCommand::Use { name } => {
            if !contexts.contexts.contains_key(&name) {
                bail!("there is no context {name:?}; `toka context set {name} HOST:PORT` adds it");
            }
            contexts.current = Some(name);
        }
        ContextCommand::Remove { name } => {
            if contexts.contexts.remove(&name).is_none() {
                bail!("there is no context {name:?}");
            }
            contexts.current = contexts.current.filter(|current| *current != name);
        }
    }
    contexts.write(&path)
}

/// What the flags say, so that it means the same in every directory.
fn tls(global: &Global) -> Result<Tls> {
    Ok(Tls {
        ca: absolute(global.ca.as_ref())?,
        cert: absolute(global.cert.as_ref())?,
        key: absolute(global.key.as_ref())?,
        server_name: global.server_name.clone(),
    })
}

fn absolute(path: Option<&PathBuf>) -> std::io::Result<Option<PathBuf>> {
    path.map(std::path::absolute).transpose()
}

fn list(contexts: &Contexts, format: Format) -> Result<()> {
    match format {
        Format::Json => {
            for (name, entry) in &contexts.contexts {
                output::json(&serde_json::json!({
                    "name": name,
                    "endpoints": entry.endpoints,
                    "tls": entry.tls,
                    "token_file": entry.token_file,
                    "current": contexts.current.as_ref() == Some(name),
                }))?;
            }
        }
        Format::Table => {
            let mut table = output::table(&["", "name", "endpoints"]);
            for (name, entry) in &contexts.contexts {
                let mark = if contexts.current.as_ref() == Some(name) {
                    "*"
                } else {
                    ""
                };
                table.add_row([mark, name.as_str(), &entry.endpoints.join(", ")]);
            }
            output::line(&table.to_string())?;
        }
    }
    Ok(())
}
