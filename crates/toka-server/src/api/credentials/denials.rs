//! Calls that were refused, in the log of the node and in the audit.

use super::actor::named;
use super::audit::Audit;
use crate::auth::{Denial, Denials, Traced, requirement};

/// Tells both.
#[derive(Debug)]
pub(crate) struct Audited {
    audit: Audit,
    traced: Traced,
}

impl Audited {
    pub(crate) fn new(audit: Audit) -> Self {
        Self {
            audit,
            traced: Traced::default(),
        }
    }
}

impl Denials for Audited {
    fn denied(&self, denial: &Denial<'_>) {
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
            toka_auth::Source::Anonymous => "",
            _ if !is_known => "",
            _ => method,
        };
        let source = source.to_string();
        let fields = [("rpc", method), ("missing", missing), ("by", &*source)];
        self.audit
            .note("denied", named(principal, denial.source), &fields);
    }
}
