//! Which kinds of events a principal may read or write.

use crate::grant::{Action, Grant};

/// Kinds of the events in which the vault writes down what concerns its security. Only the vault commits them, and only
/// who may administer them reads them.
pub const AUDIT_KIND_PREFIX: &str = "toka.audit.";

/// A prefix that no kind has: kinds have no control characters.
const NO_KIND: &str = "\0";

/// The kinds whose events a principal sees. Read paths put it together with the kinds that a request asks for
/// ([`Visibility::narrow`]), before anything is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visibility {
    /// `None`: all of them.
    prefixes: Option<Vec<String>>,
    /// Audit events too.
    audit: bool,
}

/// What a request for kinds comes to, for one principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowed {
    /// The kind starts with one of these; empty: any kind.
    pub kind_prefixes: Vec<String>,
    /// And with none of these.
    pub hidden_kind_prefixes: Vec<String>,
}

impl Visibility {
    /// Of a vault in which nobody has to show who they are: everything.
    pub fn of_everything() -> Self {
        Self {
            prefixes: None,
            audit: true,
        }
    }

    /// What these grants let be seen.
    pub fn of(grants: &[Grant]) -> Self {
        let reads = || {
            let covers = |grant: &&Grant| grant.action.covers(Action::Read);
            grants.iter().filter(covers)
        };
        let prefixes = match reads().any(Grant::is_of_all) {
            true => None,
            false => {
                let prefixes = reads().flat_map(|grant| grant.kind_prefixes.iter().cloned());
                Some(shortest(prefixes.collect()))
            }
        };
        let audit = grants
            .iter()
            .any(|grant| grant.action == Action::Admin && grant.covers_kind(AUDIT_KIND_PREFIX));
        Self { prefixes, audit }
    }

    /// Whether nothing is hidden.
    pub fn is_everything(&self) -> bool {
        self.prefixes.is_none() && self.audit
    }

    /// Whether every kind is seen, audit events apart.
    pub fn is_of_all_kinds(&self) -> bool {
        self.prefixes.is_none()
    }

    /// Whether events of this kind are seen.
    pub fn sees(&self, kind: &str) -> bool {
        if kind.starts_with(AUDIT_KIND_PREFIX) {
            return self.audit;
        }
        covers(self.prefixes.as_deref(), kind)
    }

    /// Whether all events whose kind starts with `prefix` are seen.
    pub fn sees_all(&self, prefix: &str) -> bool {
        let has_audit =
            prefix.starts_with(AUDIT_KIND_PREFIX) || AUDIT_KIND_PREFIX.starts_with(prefix);
        match has_audit && !self.audit {
            true => false,
            false => self.sees(prefix),
        }
    }

    /// Whether all events with the kinds of a filter (prefixes; empty: any) are seen, audit events apart.
    pub fn sees_delivered(&self, kind_prefixes: &[String]) -> bool {
        match kind_prefixes {
            [] => self.is_of_all_kinds(),
            prefixes => prefixes
                .iter()
                .all(|prefix| covers(self.prefixes.as_deref(), prefix)),
        }
    }

    /// The kinds of a request (prefixes; empty: any), as far as they are seen. Of a principal that sees everything it is
    /// the request itself.
    pub fn narrow(&self, requested: Vec<String>) -> Narrowed {
        let Some(seen) = &self.prefixes else {
            let hidden_kind_prefixes = match self.audit {
                true => Vec::new(),
                false => vec![AUDIT_KIND_PREFIX.to_owned()],
            };
            return Narrowed {
                kind_prefixes: requested,
                hidden_kind_prefixes,
            };
        };
        let mut seen: Vec<&str> = seen.iter().map(String::as_str).collect();
        let mut hidden_kind_prefixes = Vec::new();
        if self.audit {
            seen.push(AUDIT_KIND_PREFIX);
        } else {
            hidden_kind_prefixes.push(AUDIT_KIND_PREFIX.to_owned());
        }
        let mut kind_prefixes = match requested.is_empty() {
            true => seen.iter().map(|prefix| (*prefix).to_owned()).collect(),
            false => requested
                .iter()
                .flat_map(|wanted| seen.iter().filter_map(move |seen| longer(wanted, seen)))
                .collect(),
        };
        kind_prefixes = shortest(kind_prefixes);
        if kind_prefixes.is_empty() {
            kind_prefixes.push(NO_KIND.to_owned());
        }
        Narrowed {
            kind_prefixes,
            hidden_kind_prefixes,
        }
    }
}

/// The kinds that a principal may commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writable {
    /// `None`: all of them.
    prefixes: Option<Vec<String>>,
    /// Audit events too: of a vault without authorization.
    audit: bool,
}

impl Writable {
    /// Of a vault in which nobody has to show who they are: everything.
    pub fn of_everything() -> Self {
        Self {
            prefixes: None,
            audit: true,
        }
    }

    /// What these grants let be written. Nobody writes audit events but the vault itself.
    pub fn of(grants: &[Grant]) -> Self {
        let writes = || {
            let covers = |grant: &&Grant| grant.action.covers(Action::Write);
            grants.iter().filter(covers)
        };
        let prefixes = match writes().any(Grant::is_of_all) {
            true => None,
            false => {
                let prefixes = writes().flat_map(|grant| grant.kind_prefixes.iter().cloned());
                Some(shortest(prefixes.collect()))
            }
        };
        Self {
            prefixes,
            audit: false,
        }
    }

    /// Whether events of this kind may be committed.
    pub fn covers(&self, kind: &str) -> bool {
        (self.audit || !kind.starts_with(AUDIT_KIND_PREFIX))
            && covers(self.prefixes.as_deref(), kind)
    }
}

fn covers(prefixes: Option<&[String]>, kind: &str) -> bool {
    prefixes.is_none_or(|prefixes| {
        prefixes
            .iter()
            .any(|prefix| kind.starts_with(prefix.as_str()))
    })
}

/// What both prefixes let through, if anything.
fn longer(one: &str, other: &str) -> Option<String> {
    if one.starts_with(other) {
        Some(one.to_owned())
    } else if other.starts_with(one) {
        Some(other.to_owned())
    } else {
        None
    }
}

/// The same prefixes without those that another one covers, sorted.
fn shortest(mut prefixes: Vec<String>) -> Vec<String> {
    prefixes.sort_unstable();
    let mut kept: Vec<String> = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        // Sorted, whatever covers it is the last one kept.
        if !kept.last().is_some_and(|last| prefix.starts_with(last)) {
            kept.push(prefix);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(texts: &[&str]) -> Vec<Grant> {
        let parse = |text: &&str| text.parse::<Grant>().expect("a grant");
        texts.iter().map(parse).collect()
    }

    fn visibility(texts: &[&str]) -> Visibility {
        Visibility::of(&grants(texts))
    }

    fn narrowed(texts: &[&str], requested: &[&str]) -> (Vec<String>, bool) {
        let requested = requested.iter().map(ToString::to_string).collect();
        let narrowed = visibility(texts).narrow(requested);
        (
            narrowed.kind_prefixes,
            !narrowed.hidden_kind_prefixes.is_empty(),
        )
    }

    #[test]
    fn admin_of_all_kinds_sees_everything_and_asks_for_nothing_more() {
        assert!(visibility(&["admin"]).is_everything());
        assert_eq!(narrowed(&["admin"], &[]), (vec![], false));
        let asked = vec!["b".to_owned(), "a".to_owned()];
        assert_eq!(narrowed(&["admin"], &["b", "a"]), (asked, false));
    }

    #[test]
    fn only_admins_see_audit_events() {
        assert!(!visibility(&["read"]).sees("toka.audit.token"));
        assert!(!visibility(&["read:toka."]).sees("toka.audit.token"));
        assert!(!visibility(&["read:toka.audit."]).sees("toka.audit.token"));
        assert!(visibility(&["admin"]).sees("toka.audit.token"));
        assert!(visibility(&["admin:toka.audit."]).sees("toka.audit.token"));
        assert!(!visibility(&["admin:task."]).sees("toka.audit.token"));
        assert_eq!(narrowed(&["read"], &[]), (vec![], true));
    }

    #[test]
    fn prefix_is_seen_if_all_kinds_behind_it_are() {
        assert!(visibility(&["read:task."]).sees_all("task.new"));
        assert!(!visibility(&["read:task."]).sees_all("task"));
        assert!(!visibility(&["read"]).sees_all("tok"));
        assert!(!visibility(&["read"]).sees_all("toka.audit.token"));
        assert!(visibility(&["admin"]).sees_all("tok"));
    }

    #[test]
    fn filter_of_all_kinds_is_seen_by_who_reads_all() {
        let task = ["task.".to_owned()];
        assert!(visibility(&["read"]).sees_delivered(&[]));
        assert!(visibility(&["read:task."]).sees_delivered(&task));
        assert!(!visibility(&["read:task."]).sees_delivered(&[]));
        assert!(!visibility(&["read:chat."]).sees_delivered(&task));
    }

    #[test]
    fn request_is_cut_down_to_what_is_seen() {
        let expected = |prefixes: &[&str]| {
            let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
            (prefixes, true)
        };
        let seen = ["read:task.,chat."];
        assert_eq!(narrowed(&seen, &[]), expected(&["chat.", "task."]));
        assert_eq!(narrowed(&seen, &["task.new"]), expected(&["task.new"]));
        assert_eq!(narrowed(&seen, &["t"]), expected(&["task."]));
        assert_eq!(narrowed(&seen, &["", "x"]), expected(&["chat.", "task."]));
        assert_eq!(narrowed(&seen, &["x"]), expected(&["\0"]));
        assert_eq!(narrowed(&[], &[]), expected(&["\0"]));
    }

    #[test]
    fn auditor_sees_audit_events_beside_what_else_is_granted() {
        let (prefixes, hides) = narrowed(&["read:task.", "admin:toka.audit."], &[]);
        assert_eq!(prefixes, ["task.", "toka.audit."]);
        assert!(!hides);
    }

    #[test]
    fn nobody_writes_audit_events_where_there_is_authorization() {
        assert!(!Writable::of(&grants(&["admin"])).covers("toka.audit.token"));
        assert!(!Writable::of(&grants(&["write:toka."])).covers("toka.audit.token"));
        assert!(Writable::of(&grants(&["write:toka."])).covers("toka.other"));
        assert!(Writable::of_everything().covers("toka.audit.token"));
    }

    #[test]
    fn writer_of_some_kinds_writes_no_others() {
        let writable = Writable::of(&grants(&["write:task.", "read"]));
        assert!(writable.covers("task.new"));
        assert!(!writable.covers("chat.new"));
    }
}
