//! Calls that were refused, in the log of the node, in the audit, and in metrics.

use std::sync::Arc;

use toka_auth::Source;
use toka_raft::meters::Counter;

use super::actor::named;
use super::audit::Audit;
use crate::auth::{Denial, Denials, Traced, requirement};

/// How callers have shown who they are: values of a label, in the order of the counts.
const CREDENTIALS: [&str; 5] = ["anonymous", "token", "certificate", "jwt", "node"];

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
}

impl Audited {
    pub(crate) fn new(audit: Audit, denied: Denied) -> Self {
        Self {
            audit,
            denied,
            traced: Traced::default(),
        }
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
        // Anybody may call any name: what nobody has shown a credential for, and what there is no method for, is told
        // without, so that it becomes one record with a count.
        let is_known = requirement(&format!("/{method}")).is_some();
        let method = match source {
            Source::Anonymous => "",
            _ if !is_known => "",
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
