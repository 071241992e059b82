//! What each principal uses of this node.
//!
//! A bucket fills by its rate up to what one second brings, and may be overdrawn by what is under way already: a message
//! is never cut. Who has overdrawn it waits, or is told when to come back.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use toka_auth::{Limits, Principal};
use toka_proto::convert::status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tonic::Status;

use super::throttled::{Limited, Throttled};
use crate::limits::{ACCOUNTS_MAX, RETRY_AFTER, THROTTLE_MAX};

/// Something that comes back at a rate.
#[derive(Debug)]
pub(super) struct Bucket {
    per_second: f64,
    /// What is left as of `as_of`; below 0: overdrawn.
    left: f64,
    as_of: Instant,
}

impl Bucket {
    pub(super) fn new(per_second: f64, now: Instant) -> Self {
        Self {
            per_second,
            left: per_second,
            as_of: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.as_of).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.as_of = now;
    }

    /// How long until something is there again; zero: it is.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        if self.left >= 1.0 {
            return Duration::ZERO;
        }
        // A little more, so that a whole one is there when it has passed, however numbers are rounded.
        let seconds = (1.0 - self.left) / self.per_second + 0.001;
        Duration::from_secs_f64(seconds.min(THROTTLE_MAX.as_secs_f64()))
    }

    /// Nothing was used up.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.left >= self.per_second
    }

    pub(super) fn take(&mut self, amount: f64, now: Instant) {
        self.fill(now);
        // However much is under way, nobody is shut out for longer than this.
        let least = -self.per_second * THROTTLE_MAX.as_secs_f64();
        self.left = (self.left - amount).max(least);
    }
}

/// A number of things that may be open at once.
#[derive(Debug)]
struct Slots {
    free: Arc<Semaphore>,
    max: usize,
}

impl Slots {
    fn new(max: u32) -> Self {
        let max = max as usize;
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
        }
    }

    /// One more, until what is returned is dropped; `None`: all are taken.
    fn take(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// Nothing is open.
    fn are_free(&self) -> bool {
        self.free.available_permits() == self.max
    }
}

/// What one principal uses.
#[derive(Debug)]
pub(crate) struct Account {
    requests: Option<Mutex<Bucket>>,
    bytes: Option<Mutex<Bucket>>,
    subscriptions: Option<Slots>,
    calls: Option<Slots>,
    throttled: Throttled,
}

impl Account {
    fn new(limits: Limits, open_calls: Option<u32>, throttled: Throttled) -> Self {
        let bucket = |per_second: f64| Mutex::new(Bucket::new(per_second, Instant::now()));
        Self {
            requests: limits
                .requests_per_second
                .map(|rate| bucket(f64::from(rate))),
            bytes: limits.bytes_per_second.map(|rate| bucket(rate as f64)),
            subscriptions: limits.subscriptions.map(Slots::new),
            calls: open_calls.map(Slots::new),
            throttled,
        }
    }

    /// Counts a call.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which there is room again.
    pub(crate) fn call(&self, now: Instant) -> Result<(), Status> {
        let wait = self.wait_for_bytes(now);
        if !wait.is_zero() {
            return Err(self.throttled.refuse(Limited::Bytes, wait));
        }
        let wait = self.message(now);
        match wait.is_zero() {
            true => Ok(()),
            false => Err(self.throttled.refuse(Limited::Requests, wait)),
        }
    }

    /// Counts a message, if there is room for it; else says how long to wait.
    pub(crate) fn message(&self, now: Instant) -> Duration {
        let Some(requests) = &self.requests else {
            return Duration::ZERO;
        };
        let mut bucket = lock(requests);
        let wait = bucket.wait(now);
        if wait.is_zero() {
            bucket.take(1.0, now);
        }
        wait
    }

    /// Whether bytes are counted.
    pub(crate) fn counts_bytes(&self) -> bool {
        self.bytes.is_some()
    }

    /// Counts bytes that have come or gone.
    pub(crate) fn bytes(&self, count: usize, now: Instant) {
        if let Some(bytes) = &self.bytes {
            lock(bytes).take(count as f64, now);
        }
    }

    /// How long to wait until there is room for bytes.
    pub(crate) fn wait_for_bytes(&self, now: Instant) -> Duration {
        let bytes = self.bytes.as_ref();
        bytes.map_or(Duration::ZERO, |bytes| lock(bytes).wait(now))
    }

    /// One more subscription, until what is returned is dropped; `None`: they are not counted.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(crate) fn subscribe(&self) -> Result<Option<OwnedSemaphorePermit>, Status> {
        self.take(self.subscriptions.as_ref(), Limited::Subscriptions)
    }

    /// One more call of any kind, until what is returned is dropped; `None`: they are not counted.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED.
    pub(crate) fn open(&self) -> Result<Option<OwnedSemaphorePermit>, Status> {
        self.take(self.calls.as_ref(), Limited::OpenCalls)
    }

    fn take(
        &self,
        slots: Option<&Slots>,
        limited: Limited,
    ) -> Result<Option<OwnedSemaphorePermit>, Status> {
        let taken = slots.map(|slots| {
            let taken = slots.take();
            taken.ok_or_else(|| self.throttled.refuse(limited, RETRY_AFTER))
        });
        taken.transpose()
    }

    /// Nothing is open, and nothing was used up.
    fn is_idle(&self, now: Instant) -> bool {
        let is_full = |bucket: &Mutex<Bucket>| lock(bucket).is_full(now);
        self.requests.as_ref().is_none_or(is_full)
            && self.bytes.as_ref().is_none_or(is_full)
            && self.subscriptions.as_ref().is_none_or(Slots::are_free)
            && self.calls.as_ref().is_none_or(Slots::are_free)
    }
}

/// The accounts of those who have called. All credentials of one name with the same limits share one.
#[derive(Debug, Default)]
pub(crate) struct Accounts {
    defaults: Limits,
    open_calls: Option<u32>,
    throttled: Throttled,
    by_name: Mutex<HashMap<(String, Limits), Arc<Account>>>,
}

impl Accounts {
    /// With limits for those who have none of their own, and with calls that anybody may have open; refusals are counted.
    pub(crate) fn new(defaults: Limits, open_calls: Option<u32>, throttled: Throttled) -> Self {
        Self {
            defaults,
            open_calls,
            throttled,
            by_name: Mutex::default(),
        }
    }

    /// The account of a principal; `None`: it has no limits.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED where more principals than [`ACCOUNTS_MAX`] are at work.
    pub(crate) fn of(&self, principal: &Principal) -> Result<Option<Arc<Account>>, Status> {
        let limits = principal.limits.or(self.defaults);
        if limits == Limits::default() && self.open_calls.is_none() {
            return Ok(None);
        }
        let key = (principal.name.clone(), limits);
        let mut by_name = lock(&self.by_name);
        if let Some(account) = by_name.get(&key) {
            return Ok(Some(Arc::clone(account)));
        }
        if by_name.len() >= ACCOUNTS_MAX {
            let now = Instant::now();
            // One that a call still has would be opened a second time, with all of its limits.
            by_name.retain(|_, account| Arc::strong_count(account) > 1 || !account.is_idle(now));
            if by_name.len() >= ACCOUNTS_MAX {
                return Err(status::overloaded(RETRY_AFTER));
            }
        }
        let account = Account::new(limits, self.open_calls, self.throttled.clone());
        let account = Arc::new(account);
        by_name.insert(key, Arc::clone(&account));
        Ok(Some(account))
    }
}

// Nothing panics while it is held.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use toka_proto::convert::status::parse;
    use tonic::Code;

    use super::*;

    fn principal(name: &str, limits: Limits) -> Principal {
        Principal {
            name: name.to_owned(),
            limits,
            ..Principal::anonymous()
        }
    }

    fn account(limits: Limits) -> Arc<Account> {
        let accounts = Accounts::default();
        let account = accounts.of(&principal("robot", limits)).expect("room");
        account.expect("it has limits")
    }

    #[test]
    fn calls_above_the_rate_are_told_when_to_come_back() {
        let account = account(Limits {
            requests_per_second: Some(2),
            ..Limits::default()
        });
        let now = Instant::now();
        assert!(account.call(now).is_ok());
        assert!(account.call(now).is_ok());
        let refused = account.call(now).expect_err("too many");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let wait = parse(&refused).retry_after.expect("a hint");
        assert!(account.call(now + wait).is_ok());
    }

    #[test]
    fn bytes_may_be_overdrawn_once_and_are_waited_for() {
        let account = account(Limits {
            bytes_per_second: Some(1_000),
            ..Limits::default()
        });
        let now = Instant::now();
        assert!(account.call(now).is_ok());
        account.bytes(3_000, now);
        let refused = account.call(now).expect_err("overdrawn");
        let wait = parse(&refused).retry_after.expect("a hint");
        assert!(wait >= Duration::from_secs(2), "{wait:?}");
        assert!(account.call(now + wait).is_ok());
    }

    #[test]
    fn nobody_is_shut_out_for_long() {
        let account = account(Limits {
            bytes_per_second: Some(1),
            ..Limits::default()
        });
        let now = Instant::now();
        account.bytes(usize::MAX, now);
        assert!(account.wait_for_bytes(now) <= THROTTLE_MAX);
    }

    #[test]
    fn subscriptions_are_counted_while_they_are_open() {
        let account = account(Limits {
            subscriptions: Some(1),
            ..Limits::default()
        });
        let open = account.subscribe().expect("room");
        assert!(account.subscribe().is_err());
        drop(open);
        assert!(account.subscribe().is_ok());
    }

    #[test]
    fn calls_of_one_principal_are_counted_while_they_are_open() {
        let accounts = Accounts::new(Limits::default(), Some(1), Throttled::default());
        let of = |name: &str| {
            let account = accounts.of(&principal(name, Limits::default()));
            account.expect("room").expect("a limit of calls")
        };
        let open = of("a").open().expect("room");
        let refused = of("a").open().expect_err("one is open");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(parse(&refused).retry_after, Some(RETRY_AFTER));
        assert!(of("b").open().is_ok());
        assert!(!of("a").is_idle(Instant::now()));
        drop(open);
        assert!(of("a").open().is_ok());
    }

    #[test]
    fn principals_share_their_account_and_no_other() {
        let limits = Limits {
            subscriptions: Some(1),
            ..Limits::default()
        };
        let accounts = Accounts::new(limits, None, Throttled::default());
        let of = |name: &str| {
            let account = accounts.of(&principal(name, Limits::default()));
            account.expect("room").expect("limits by default")
        };
        assert!(Arc::ptr_eq(&of("a"), &of("a")));
        assert!(!Arc::ptr_eq(&of("a"), &of("b")));
        let none = Accounts::default();
        let free = none.of(&principal("a", Limits::default())).expect("room");
        assert!(free.is_none());
    }

    #[test]
    fn idle_accounts_make_room_for_others() {
        let limits = Limits {
            subscriptions: Some(1),
            ..Limits::default()
        };
        let accounts = Accounts::new(limits, None, Throttled::default());
        for number in 0..=ACCOUNTS_MAX {
            let name = number.to_string();
            let account = accounts.of(&principal(&name, Limits::default()));
            assert!(account.is_ok(), "{number}");
        }
        assert!(lock(&accounts.by_name).len() <= ACCOUNTS_MAX);
    }
}
