//! Files that are read as wholes, and again and again.

use std::io::{self, Read as _};
use std::path::Path;

use toka_ledger::seam;
use tokio::time::{MissedTickBehavior, interval};

use crate::limits::AUTH_RELOAD_INTERVAL;

/// Reads something now and then, and hands it over. Where it cannot be read, that is told once, and what was read last
/// holds on: who replaces a file in two steps shuts nobody out.
pub(super) async fn follow<T, E>(
    read: impl Fn() -> Result<T, E> + Clone + Send + 'static,
    take: impl Fn(T) + Send,
    complain: impl Fn(&E) + Send,
) where
    T: Send + 'static,
    E: Send + 'static,
{
    let mut ticks = interval(AUTH_RELOAD_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut complained = false;
    loop {
        ticks.tick().await;
        // It fails only if the process ends.
        let Ok(said) = seam::off_reactor(read.clone()).await else {
            return;
        };
        match said {
            Ok(said) => {
                complained = false;
                take(said);
            }
            Err(error) if !complained => {
                complained = true;
                complain(&error);
            }
            Err(_) => {}
        }
    }
}

/// A whole file, if it has at most `bytes_max` bytes.
pub(super) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = std::fs::File::open(path)?.take(bytes_max + 1);
    file.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!(
            "it has more than {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_above_its_bound_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), b"four").expect("written");
        assert_eq!(read_bounded(file.path(), 4).expect("short enough"), b"four");
        assert!(read_bounded(file.path(), 3).is_err());
    }
}
