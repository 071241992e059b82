//! Calls that were refused, in the log of the node, in the audit, and in metrics.

use std::sync::{Arc, Mutex, PoisonError};

use toka_auth::Source;
use toka_raft::meters::Counter;
use tokio::time::Instant;

use super::actor::named;
use super::audit::Audit;
use crate::auth::{Denial, Denials, Traced, Window, requirement};

/// How callers have shown who they are: values of a label, in the order of the counts.
const CREDENTIALS: [&str; 5] = ["anonymous", "token", "certificate", "jwt", "node"];

/// What is missing where it is not told one by one.
const MANY: &str = "several";

/// How much was denied since the node was started. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Denied(Arc<[Counter; CREDENTIALS.len()]>);

impl Denied {
    fn count(&self, source: Source) {
        let at = match source {
            Source::Anonymous => 0,
            Source::Token(_) => 1,
            Source::Certificate => 2,
            Source::Jwt => 3,
            Source::Node => 4,
        };
        self.0[at].increment();
    }

    /// How often, to callers of each kind.
    pub(crate) fn by_credential(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CREDENTIALS.into_iter().zip(self.0.iter().map(Counter::get))
    }
}

/// Tells all of them.
#[derive(Debug)]
pub(crate) struct Audited {
    audit: Audit,
    denied: Denied,
    traced: Traced,
    window: Mutex<Window>,
}

impl Audited {
    pub(crate) fn new(audit: Audit, denied: Denied) -> Self {
        Self {
            audit,
            denied,
            traced: Traced::default(),
            window: Mutex::default(),
        }
    }

    /// Whether one more of who is known is told with what was asked for.
    fn enter(&self) -> bool {
        // Nothing panics while it is held.
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let (is_told, _) = window.enter(Instant::now());
        is_told
    }
}

impl Denials for Audited {
    fn denied(&self, denial: &Denial<'_>) {
        self.denied.count(denial.source);
        self.traced.denied(denial);
        let Denial {
            principal,
            source,
            method,
            missing,
        } = *denial;
        let is_told = source == Source::Anonymous || self.enter();
        // Anybody may call any name: what nobody has shown a credential for, and what there is no method for, is told
        // without, so that it becomes one record with a count. So does what is asked for again and again by who is known:
        // the kinds in it are the caller's to choose, and would fill the disk.
        let missing = if is_told { missing } else { MANY };
        let is_known = requirement(&format!("/{method}")).is_some();
        let method = match source {
            Source::Anonymous => "",
            _ if !is_known || !is_told => "",
            _ => method,
        };
        let source = source.to_string();
        let fields = [("rpc", method), ("missing", missing), ("by", &*source)];
        self.audit
            .note("denied", named(principal, denial.source), &fields);
    }
}

#[cfg(test)]
mod tests {
    use toka_auth::TokenId;

    use super::*;
    use crate::limits::DENIALS_MAX;

    #[test]
    fn flood_of_different_denials_becomes_few_records() {
        let audit = Audit::default();
        let denials = Audited::new(audit.clone(), Denied::default());
        for number in 0..DENIALS_MAX + 7 {
            denials.denied(&Denial {
                principal: "robot",
                source: Source::Token(TokenId(7)),
                method: "toka.vault.v1.VaultService/Commit",
                missing: &format!("write:{number}"),
            });
        }
        let mut records = Vec::new();
        loop {
            let some = audit.take();
            if some.is_empty() {
                break;
            }
            records.extend(some);
        }
        assert_eq!(records.len(), DENIALS_MAX + 1);
        assert!(records.iter().any(|record| record.count == 7));
    }

    #[test]
    fn denials_are_counted_by_credential() {
        let (audit, denied) = (Audit::default(), Denied::default());
        let denials = Audited::new(audit, denied.clone());
        for source in [Source::Anonymous, Source::Token(TokenId(7)), Source::Node] {
            denials.denied(&Denial {
                principal: "",
                source,
                method: "toka.vault.v1.VaultService/Commit",
                missing: "write",
            });
        }
        let counts: Vec<u64> = denied.by_credential().map(|(_, count)| count).collect();
        assert_eq!(counts, [1, 1, 0, 0, 1]);
    }
}
