//! Callers whose credentials are not good, by where they are: looking at what they show costs something, and telling the
//! audit of it, too.
//!
//! Only failures are counted. From where there were too many, JWTs that were not found good before are not looked at until some
//! time has passed, since their signatures cost most, and no other failure is told of. A good token of the vault, and a JWT
//! that was found good and still is, are let in all the same: to look for them costs next to nothing, and anybody could keep
//! out all who are behind the same proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::codegen::http::HeaderMap;
use tonic::codegen::http::header::AUTHORIZATION;
use tonic::{Code, Status};

use super::account::Bucket;
use super::credential::{Credential, Hidden, shown};
use super::table::{Requirement, requirement};
use super::throttled::{Limited, Throttled};
use super::{Access, Guard};
use crate::limits::FAILING_ADDRESSES_MAX;
use crate::transport::PeerIdentity;

/// Between two looks for addresses that need not be remembered any more.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// What one caller has of IPv6 is a whole network.
const NETWORK_BITS: u32 = 64;

impl Guard {
    /// As [`Guard::admit`], of a caller at an address, if that is known.
    ///
    /// # Errors
    /// As [`Guard::admit`].
    pub(super) fn admit_from(
        &self,
        from: Option<IpAddr>,
        path: &str,
        headers: &HeaderMap,
        peer: Option<&PeerIdentity>,
    ) -> Result<Access, Status> {
        // Nodes show what others have shown them; who shows nothing costs nothing, nor what everybody may call.
        let is_node = peer.is_some_and(|peer| peer.is_node);
        let is_looked_at = !is_node
            && headers.contains_key(AUTHORIZATION)
            && requirement(path) != Some(Requirement::Public);
        let Some(from) = from.filter(|_| is_looked_at) else {
            return self.admit(path, headers, peer);
        };
        let is_good = || self.is_known_good_shown(headers);
        self.failures.check(from, Instant::now(), is_good)?;
        let admitted = self.admit(path, headers, peer);
        if let Err(refused) = &admitted
            && refused.code() == Code::Unauthenticated
        {
            self.failures.count(from, Instant::now());
        }
        admitted
    }

    /// Whether what is shown is good, as far as that is known without checking a signature.
    fn is_known_good_shown(&self, headers: &HeaderMap) -> bool {
        match shown(headers, None) {
            Ok(Credential::Token(token)) => self.by_token(&token).is_ok(),
            Ok(Credential::Jwt(Hidden(text))) => {
                let now_unix_ms = self.clock.unix_ms();
                let issuer = self.issuer.as_ref();
                issuer.is_some_and(|issuer| issuer.remembers(text, now_unix_ms))
            }
            _ => false,
        }
    }
}

/// How many credentials were shown that are not good.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Of one address; 0: any number.
    per_second: u32,
    throttled: Throttled,
    /// As many as are known, for who wants to know whether there are any: mostly there are none.
    known_addresses: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    by_network: HashMap<IpAddr, Bucket>,
    /// Of all for whom there is no room.
    others: Option<Bucket>,
    swept: Option<Instant>,
}

impl Failures {
    /// At most `per_second` from one address (0: any number); refusals are counted.
    pub(super) fn new(per_second: u32, throttled: Throttled) -> Self {
        Self {
            per_second,
            throttled,
            known_addresses: AtomicUsize::new(0),
            known: Mutex::default(),
        }
    }

    /// Whether a call from there is gone on with; `is_good` says whether it shows what is good, and is asked only where too
    /// much was not.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED, with the time after which credentials from there are looked at again.
    fn check(
        &self,
        from: IpAddr,
        now: Instant,
        is_good: impl FnOnce() -> bool,
    ) -> Result<(), Status> {
        // Who reads that there are none while another one fails comes before that one.
        if self.per_second == 0 || self.known_addresses.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let wait = self.with_known(|known| known.wait(network(from), now));
        match wait.is_zero() || is_good() {
            true => Ok(()),
            false => Err(self.throttled.refuse(Limited::FailedAuthentications, wait)),
        }
    }

    /// One more.
    fn count(&self, from: IpAddr, now: Instant) {
        if self.per_second > 0 {
            let per_second = f64::from(self.per_second);
            self.with_known(|known| known.count(network(from), per_second, now));
        }
    }

    fn with_known<T>(&self, work: impl FnOnce(&mut Known) -> T) -> T {
        // Nothing panics while it is held.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut known);
        let addresses = known.by_network.len();
        self.known_addresses.store(addresses, Ordering::Relaxed);
        done
    }
}

impl Known {
    fn wait(&mut self, network: IpAddr, now: Instant) -> Duration {
        // So that there are none once nobody fails any more, and nobody waits for the lock.
        self.sweep(now);
        let is_full = self.by_network.len() >= FAILING_ADDRESSES_MAX;
        let others = self.others.as_mut().filter(|_| is_full);
        let bucket = self.by_network.get_mut(&network).or(others);
        bucket.map_or(Duration::ZERO, |bucket| bucket.wait(now))
    }

    fn count(&mut self, network: IpAddr, per_second: f64, now: Instant) {
        let is_known = self.by_network.contains_key(&network);
        if !is_known && self.by_network.len() >= FAILING_ADDRESSES_MAX {
            self.sweep(now);
        }
        let bucket = if is_known || self.by_network.len() < FAILING_ADDRESSES_MAX {
            let known = self.by_network.entry(network);
            known.or_insert_with(|| Bucket::new(per_second, now))
        } else {
            let others = &mut self.others;
            others.get_or_insert_with(|| Bucket::new(per_second, now))
        };
        bucket.take(1.0, now);
    }

    /// Forgets those that have failed no more for some time.
    fn sweep(&mut self, now: Instant) {
        let is_early = |swept| now.saturating_duration_since(swept) < SWEEP_INTERVAL;
        if !self.swept.is_some_and(is_early) {
            self.swept = Some(now);
            self.by_network.retain(|_, bucket| !bucket.is_full(now));
        }
    }
}

/// What stands for an address: of IPv6 the network that it is in.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let bits = u128::from(address) >> NETWORK_BITS << NETWORK_BITS;
            Ipv6Addr::from(bits).into()
        }
    }
}

#[cfg(test)]
mod tests {
    mod jwts;

    use toka_proto::convert::status::parse;

    use super::*;

    fn v4(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(number).into()
    }

    fn check(failures: &Failures, from: IpAddr, now: Instant) -> Result<(), Status> {
        failures.check(from, now, || false)
    }

    #[test]
    fn address_that_fails_too_often_is_told_when_to_come_back_and_others_are_not() {
        let failures = Failures::new(3, Throttled::default());
        let now = Instant::now();
        for _ in 0..3 {
            assert!(check(&failures, v4(1), now).is_ok());
            failures.count(v4(1), now);
        }
        let refused = check(&failures, v4(1), now).expect_err("too often");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let wait = parse(&refused).retry_after.expect("a hint");
        assert!(check(&failures, v4(2), now).is_ok());
        assert!(check(&failures, v4(1), now + wait).is_ok());
    }

    #[test]
    fn what_is_good_is_let_in_and_asked_for_only_where_too_much_was_not() {
        let failures = Failures::new(1, Throttled::default());
        let now = Instant::now();
        let unasked = failures.check(v4(1), now, || unreachable!("there is room"));
        assert!(unasked.is_ok());
        failures.count(v4(1), now);
        assert!(check(&failures, v4(1), now).is_err());
        assert!(failures.check(v4(1), now, || true).is_ok());
    }

    #[test]
    fn table_is_not_looked_at_while_nobody_fails() {
        let failures = Failures::new(1, Throttled::default());
        let now = Instant::now();
        let is_looked_at = || {
            let known = failures.known.lock().expect("sound");
            known.swept.is_some()
        };
        assert!(check(&failures, v4(1), now).is_ok());
        assert!(!is_looked_at());
        failures.count(v4(1), now);
        assert!(check(&failures, v4(2), now).is_ok());
        assert!(is_looked_at());
    }

    #[test]
    fn address_that_fails_no_more_is_forgotten() {
        let failures = Failures::new(1, Throttled::default());
        let now = Instant::now();
        let addresses = || failures.known_addresses.load(Ordering::Relaxed);
        failures.count(v4(1), now);
        assert!(check(&failures, v4(2), now).is_ok());
        assert_eq!(addresses(), 1);
        assert!(check(&failures, v4(2), now + Duration::from_secs(60)).is_ok());
        assert_eq!(addresses(), 0);
    }

    #[test]
    fn network_of_ipv6_is_one_address() {
        let failures = Failures::new(1, Throttled::default());
        let now = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().expect(text);
        failures.count(address("2001:db8::1"), now);
        assert!(check(&failures, address("2001:db8::2"), now).is_err());
        assert!(check(&failures, address("2001:db8:0:1::1"), now).is_ok());
        failures.count(address("::ffff:10.0.0.1"), now);
        assert!(check(&failures, address("10.0.0.1"), now).is_err());
    }

    #[test]
    fn addresses_are_bounded_and_what_is_beyond_shares_one() {
        let failures = Failures::new(1, Throttled::default());
        let now = Instant::now();
        let max = u32::try_from(FAILING_ADDRESSES_MAX).expect("it fits");
        for number in 0..=max {
            failures.count(v4(number), now);
        }
        let known = |failures: &Failures| {
            let known = failures.known.lock().expect("sound");
            known.by_network.len()
        };
        assert_eq!(known(&failures), FAILING_ADDRESSES_MAX);
        assert!(check(&failures, v4(max), now).is_err());
        assert!(check(&failures, v4(max + 1), now).is_err());
        // Those that fail no more make room.
        let later = now + Duration::from_secs(60);
        failures.count(v4(max), later);
        assert_eq!(known(&failures), 1);
        assert!(check(&failures, v4(max + 1), later).is_ok());
    }

    #[test]
    fn without_a_limit_nobody_is_remembered() {
        let failures = Failures::new(0, Throttled::default());
        for _ in 0..100 {
            failures.count(v4(1), Instant::now());
        }
        assert!(check(&failures, v4(1), Instant::now()).is_ok());
        let known = failures.known.lock().expect("sound");
        assert!(known.by_network.is_empty());
    }
}
