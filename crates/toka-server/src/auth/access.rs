//! What one call may do, for the handlers.

use std::fmt;
use std::sync::{Arc, OnceLock};

use toka_auth::{AUDIT_KIND_PREFIX, Principal, Source, Visibility, Writable};
use toka_ledger::{Attributes, Error, EventHeader, Filter, Reader, Selector};
use toka_proto::convert::status;
use toka_proto::v1;
use toka_proto::v1::precondition::Condition;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};
use tonic::{Extensions, Status};

use super::account::Account;
use super::denials::{Denial, Denials, Traced};

/// Longest part of a refusal that comes from the request, bytes: as long as a kind may be. Refusals travel in headers.
const SHOWN_BYTES_MAX: usize = 255;

/// What one call may do; cheap to clone.
#[derive(Clone)]
pub(crate) struct Access(Arc<Granted>);

struct Granted {
    /// `None`: nobody has to show who they are.
    principal: Option<Principal>,
    visibility: Visibility,
    writable: Writable,
    account: Option<Arc<Account>>,
    denials: Arc<dyn Denials>,
    method: String,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.principal {
            None => f.write_str("Access(everything)"),
            Some(principal) => write!(f, "Access({:?}, {})", principal.name, principal.source),
        }
    }
}

impl Access {
    /// Of a node without authorization: everything, for everybody.
    pub(crate) fn of_everybody() -> Self {
        static EVERYTHING: OnceLock<Access> = OnceLock::new();
        let make = || {
            Self(Arc::new(Granted {
                principal: None,
                visibility: Visibility::of_everything(),
                writable: Writable::of_everything(),
                account: None,
                denials: Arc::new(Traced::default()),
                method: String::new(),
            }))
        };
        EVERYTHING.get_or_init(make).clone()
    }

    pub(super) fn new(
        principal: Principal,
        account: Option<Arc<Account>>,
        denials: Arc<dyn Denials>,
        method: &str,
    ) -> Self {
        Self(Arc::new(Granted {
            visibility: Visibility::of(&principal.grants),
            writable: Writable::of(&principal.grants),
            principal: Some(principal),
            account,
            denials,
            method: method.to_owned(),
        }))
    }

    /// What the layer has put into a request.
    ///
    /// # Errors
    /// UNAUTHENTICATED where it has put nothing: a call that has come past it may do nothing.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let access = extensions.get::<Self>().cloned();
        access.ok_or_else(|| status::unauthenticated("the call was not authenticated"))
    }

    pub(super) fn put(self, extensions: &mut Extensions) {
        extensions.insert(self);
    }

    pub(super) fn account(&self) -> Option<&Arc<Account>> {
        self.0.account.as_ref()
    }

    /// Who calls; `None`: nobody has to show that.
    pub(crate) fn principal(&self) -> Option<&Principal> {
        self.0.principal.as_ref()
    }

    /// The name that goes with a forwarded call whose caller is known by a certificate, which ends at this node.
    pub(crate) fn on_behalf_of(&self) -> Option<&str> {
        let by_certificate =
            |principal: &&Principal| matches!(principal.source, Source::Certificate);
        let principal = self.0.principal.as_ref().filter(by_certificate);
        principal.map(|principal| principal.name.as_str())
    }

    /// Whether a node calls for itself.
    pub(crate) fn is_node(&self) -> bool {
        let principal = self.0.principal.as_ref();
        principal.is_some_and(|principal| principal.source == Source::Node)
    }

    /// Whether nothing is hidden from the caller.
    pub(crate) fn sees_everything(&self) -> bool {
        self.0.visibility.is_everything()
    }

    /// Whether the caller sees every kind, audit events apart.
    pub(crate) fn sees_all_kinds(&self) -> bool {
        self.0.visibility.is_of_all_kinds()
    }

    /// Whether the caller sees events of this kind.
    pub(crate) fn sees(&self, kind: &str) -> bool {
        self.0.visibility.sees(kind)
    }

    /// Whether the caller may name events of this kind as parents. Who may write a kind can commit such an event itself,
    /// and is told whether it was there: nothing more is told of a parent.
    pub(crate) fn may_name(&self, kind: &str) -> bool {
        self.sees(kind) || self.0.writable.covers(kind)
    }

    /// Leaves out of a filter what the caller does not see.
    pub(crate) fn narrow(&self, filter: &mut Filter) {
        if !self.sees_everything() {
            let requested = std::mem::take(&mut filter.kind_prefixes);
            let narrowed = self.0.visibility.narrow(requested);
            filter.kind_prefixes = narrowed.kind_prefixes;
            filter.hidden_kind_prefixes = narrowed.hidden_kind_prefixes;
        }
    }

    /// As [`Access::narrow`], of kinds alone. What comes has to be asked for by [`Access::sees`] besides.
    pub(crate) fn narrow_kinds(&self, kind_prefixes: Vec<String>) -> Vec<String> {
        match self.sees_everything() {
            true => kind_prefixes,
            false => self.0.visibility.narrow(kind_prefixes).kind_prefixes,
        }
    }

    /// Whether an event may be shown; one that is not there may. Reads it only where something is hidden. Blocking.
    pub(crate) fn sees_event(&self, reader: &Reader, event: &Selector) -> Result<bool, Error> {
        if self.sees_everything() {
            return Ok(true);
        }
        let header = reader.header(event)?;
        Ok(header.is_none_or(|header| self.sees(header.kind.as_str())))
    }

    /// As [`Access::sees_event`]: one that is not seen is not there. Blocking.
    pub(crate) fn check_event(&self, reader: &Reader, event: &Selector) -> Result<(), Error> {
        match self.sees_event(reader, event)? {
            true => Ok(()),
            false => Err(Error::NotFound {
                name: event.to_string(),
            }),
        }
    }

    /// Refuses a group whose events the caller does not all see: they would be leased to somebody who cannot work on
    /// them.
    pub(crate) fn check_delivered(&self, filter: &Filter) -> Result<(), Status> {
        let kinds = &filter.kind_prefixes;
        if self.0.visibility.sees_delivered(kinds) {
            return Ok(());
        }
        let missing = match kinds.is_empty() {
            true => "read".to_owned(),
            false => format!("read:{}", shown(&kinds.join(","))),
        };
        Err(self.denied(
            &missing,
            format!("the group delivers events that this principal may not read; the grant `{missing}` is missing"),
        ))
    }

    /// Refuses a commit of kinds that the caller may not write, and conditions on kinds that it does not see: whether
    /// they hold would tell it of those.
    pub(crate) fn check_commit(
        &self,
        events: &[v1::NewEvent],
        preconditions: &[v1::Precondition],
    ) -> Result<(), Status> {
        if self.0.principal.is_none() {
            return Ok(());
        }
        let unwritable = |event: &&v1::NewEvent| !self.0.writable.covers(&event.kind);
        if let Some(event) = events.iter().find(unwritable) {
            let kind = &event.kind;
            if kind.starts_with(AUDIT_KIND_PREFIX) {
                let kind = shown(kind);
                let message = format!("kind {kind:?}: audit events are made by the vault alone");
                return Err(self.denied("audit", message));
            }
            return Err(self.denied_kind("write", kind));
        }
        for precondition in preconditions {
            let unseen = match &precondition.condition {
                Some(Condition::NoChild(of)) if !self.sees(&of.kind) => &of.kind,
                Some(Condition::KindSequence(of)) if !self.sees(&of.kind) => &of.kind,
                Some(Condition::KindPrefixSequence(of))
                    if !self.0.visibility.sees_all(&of.prefix) =>
                {
                    &of.prefix
                }
                _ => continue,
            };
            return Err(self.denied_kind("read", unseen));
        }
        Ok(())
    }

    /// Leaves out of the answer to a commit what the caller may not read of events that were there before.
    pub(crate) fn hide_earlier(&self, events: &mut [v1::Event]) {
        if self.sees_everything() {
            return;
        }
        for event in events {
            if event.deduplicated && !self.sees(&event.kind) {
                event.attributes = None;
                event.micro_cluster = None;
                event.intent = None;
            }
        }
    }

    /// As [`Access::hide_earlier`], of events that are not encoded yet.
    pub(crate) fn hide_earlier_headers(&self, headers: &mut [Arc<EventHeader>]) {
        if self.sees_everything() {
            return;
        }
        for header in headers {
            if header.deduplicated && !self.sees(header.kind.as_str()) {
                let header = Arc::make_mut(header);
                header.attributes = Attributes::default();
                header.micro_cluster = None;
                header.intent = None;
            }
        }
    }

    fn denied_kind(&self, action: &str, kind: &str) -> Status {
        let kind = shown(kind);
        let missing = format!("{action}:{kind}");
        let message =
            format!("kind {kind:?}: the grant `{missing}` is missing, or one of a shorter prefix");
        self.denied(&missing, message)
    }

    fn denied(&self, missing: &str, message: String) -> Status {
        if let Some(principal) = &self.0.principal {
            self.0.denials.denied(&Denial {
                principal: &principal.name,
                source: principal.source,
                method: &self.0.method,
                missing,
            });
        }
        status::permission_denied(missing, message)
    }

    /// One more subscription of the caller, until what is returned is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(crate) fn subscribe(&self) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let account = self.0.account.as_ref();
        account.map_or(Ok(None), |account| account.subscribe())
    }

    /// One more open call of the caller, until what is returned is dropped.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(super) fn open(&self) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let account = self.0.account.as_ref();
        account.map_or(Ok(None), |account| account.open())
    }

    /// Counts a commit of a stream, and waits for its turn. Dropped before it has come, it has counted nothing.
    pub(crate) async fn message(&self) {
        let Some(account) = &self.0.account else {
            return;
        };
        loop {
            let wait = account.message(Instant::now());
            if wait.is_zero() {
                return;
            }
            sleep(wait).await;
        }
    }
}

fn shown(text: &str) -> &str {
    let mut end = text.len().min(SHOWN_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use toka_auth::Grant;
    use toka_ledger::Kind;
    use toka_ledger::intent::{IntentId, MicroClusterId};
    use toka_proto::convert::status::{Detail, parse};
    use tonic::Code;

    use super::*;
    use crate::fixture;

    fn access(grants: &[&str]) -> Access {
        let grants = grants.iter().map(|text| text.parse::<Grant>());
        let principal = Principal {
            name: "robot".to_owned(),
            grants: grants.collect::<Result<_, _>>().expect("grants"),
            source: Source::Jwt,
            ..Principal::anonymous()
        };
        Access::new(principal, None, Arc::new(Traced::default()), "x/Y")
    }

    fn event(kind: &str) -> v1::NewEvent {
        v1::NewEvent {
            kind: kind.to_owned(),
            ..Default::default()
        }
    }

    fn missing(refused: Result<(), Status>) -> String {
        let refused = refused.expect_err("refused");
        assert_eq!(refused.code(), Code::PermissionDenied);
        match parse(&refused).detail {
            Some(Detail::PermissionDenied { missing }) => missing,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn commit_of_another_kind_names_it_and_the_missing_grant() {
        let access = access(&["write:task."]);
        assert!(access.check_commit(&[event("task.new")], &[]).is_ok());
        let refused = access.check_commit(&[event("task.new"), event("chat.new")], &[]);
        let text = refused.clone().expect_err("refused").message().to_owned();
        assert!(text.contains("\"chat.new\""), "{text}");
        assert_eq!(missing(refused), "write:chat.new");
    }

    #[test]
    fn nobody_commits_audit_events() {
        let refused = access(&["admin"]).check_commit(&[event("toka.audit.token")], &[]);
        assert_eq!(missing(refused), "audit");
        let open = Access::of_everybody();
        assert!(open.check_commit(&[event("toka.audit.token")], &[]).is_ok());
    }

    #[test]
    fn conditions_on_kinds_that_are_not_seen_are_refused() {
        let access = access(&["write:task.", "read:task."]);
        let condition = |condition| v1::Precondition {
            condition: Some(condition),
        };
        let no_child = |kind: &str| {
            condition(Condition::NoChild(v1::NoChild {
                kind: kind.to_owned(),
                ..Default::default()
            }))
        };
        let prefix = |prefix: &str| {
            condition(Condition::KindPrefixSequence(v1::KindPrefixSequence {
                prefix: prefix.to_owned(),
                ..Default::default()
            }))
        };
        let check = |condition| access.check_commit(&[event("task.new")], &[condition]);
        assert!(check(no_child("task.claim")).is_ok());
        assert_eq!(missing(check(no_child("secret"))), "read:secret");
        assert!(check(prefix("task.")).is_ok());
        assert_eq!(missing(check(prefix("t"))), "read:t");
    }

    #[test]
    fn parents_are_of_kinds_that_are_read_or_written() {
        let access = access(&["write:task.", "read:chat."]);
        assert!(access.may_name("task.new"));
        assert!(access.may_name("chat.new"));
        assert!(!access.may_name("secret"));
    }

    #[test]
    fn filter_of_who_sees_everything_stays_as_it_is() {
        let mut filter = Filter::default();
        access(&["admin"]).narrow(&mut filter);
        assert_eq!(filter, Filter::default());
        access(&["read:task."]).narrow(&mut filter);
        assert_eq!(filter.kind_prefixes, ["task."]);
    }

    #[test]
    fn group_of_other_kinds_is_refused() {
        let filter = |kind_prefixes: &[&str]| Filter {
            kind_prefixes: kind_prefixes.iter().map(ToString::to_string).collect(),
            ..Filter::default()
        };
        let access = access(&["read:task."]);
        assert!(access.check_delivered(&filter(&["task.new"])).is_ok());
        assert_eq!(
            missing(access.check_delivered(&filter(&["a", "b"]))),
            "read:a,b"
        );
        assert_eq!(missing(access.check_delivered(&filter(&[]))), "read");
    }

    #[test]
    fn writer_learns_nothing_new_of_an_event_that_was_there() {
        let mut events = [v1::Event {
            kind: "task.new".to_owned(),
            deduplicated: true,
            attributes: Some(v1::Attributes::default()),
            intent: Some(7),
            ..Default::default()
        }];
        access(&["write", "read:task."]).hide_earlier(&mut events);
        assert_eq!(events[0].intent, Some(7));
        access(&["write"]).hide_earlier(&mut events);
        assert_eq!((events[0].intent, &events[0].attributes), (None, &None));
    }

    #[test]
    fn header_hides_what_an_event_hides() {
        let mut header = EventHeader {
            kind: Kind::new("task.new").expect("valid"),
            payload_bytes: 1,
            attributes: Attributes {
                source: Some("a".to_owned()),
                ..Attributes::default()
            },
            micro_cluster: Some(MicroClusterId(2)),
            intent: Some(IntentId(7)),
            ..fixture::header(1)
        };
        for deduplicated in [true, false] {
            header.deduplicated = deduplicated;
            for grants in [&["write"][..], &["write", "read:task."], &["read", "write"]] {
                let mut events = [v1::Event::from(&header)];
                access(grants).hide_earlier(&mut events);
                let mut headers = [Arc::new(header.clone())];
                access(grants).hide_earlier_headers(&mut headers);
                assert_eq!(v1::Event::from(&*headers[0]), events[0], "{grants:?}");
            }
        }
    }

    #[test]
    fn request_that_came_past_the_layer_is_refused() {
        let refused = Access::of(&Extensions::new()).expect_err("refused");
        assert_eq!(refused.code(), Code::Unauthenticated);
    }
}
