//! Ids of intents and micro-clusters, and the settings of their clustering.

use std::fmt;

use bytes::BufMut;
use serde::Serialize;

use crate::codec::{DecodeError, Reader, put_varint};
use crate::error::Invalid;

/// A small, tight cluster of events; an event's micro-cluster never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct MicroClusterId(pub u32);

/// A group of micro-clusters; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct IntentId(pub u64);

impl fmt::Display for MicroClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Settings of the clustering, as the integers that it calculates with.
///
/// Each field has a range, which [`Parameters::check`] enforces: with all of them inside, no sum and no
/// product of the clustering can overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameters {
    /// Cosine similarity from which an event joins a micro-cluster, Q30; 0.5 by default.
    pub tau_q30: u32,
    /// How similar two intents must be, relative to the less coherent of them, to become one, Q16;
    /// 0.85 by default.
    pub rho_q16: u32,
    /// Coherence that an intent without any evidence is thought to have, Q28; 0.15 by default.
    pub prior_q28: u32,
    /// Events that the prior counts for; 8 by default.
    pub prior_events: u32,
    /// Similarity below which intents never become one (divided by `rho`), Q28; 0.05 by default.
    pub floor_q28: u32,
    /// Events at the origin that the mean of all embeddings is shrunk with; 64 by default.
    pub mean_shrink: u32,
    /// Events that a micro-cluster's centre remembers, a power of two; 1,024 by default. It puts a floor
    /// under the rate at which centres follow their events.
    pub count_cap: u32,
    /// Micro-clusters that the vault holds at once; 4,096 by default.
    pub micro_clusters_max: u32,
    /// Micro-clusters from which a macro-clustering runs beside `apply`; 2,048 by default.
    pub background_micro_clusters: u32,
    /// Fewest embedded events that a macro-clustering beside `apply` is given; 1,024 by default.
    pub background_events: u32,
    /// Fewest embedded events between two saves of the state; 16,384 by default.
    pub save_events: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            tau_q30: 1 << 29,
            rho_q16: 55_706,
            prior_q28: 40_265_318,
            prior_events: 8,
            floor_q28: 13_421_773,
            mean_shrink: 64,
            count_cap: 1_024,
            micro_clusters_max: 4_096,
            background_micro_clusters: 2_048,
            background_events: 1_024,
            save_events: 16_384,
        }
    }
}

/// Name and range of each field, in the order of the encoding.
const FIELDS: [(&str, u64, u64); 11] = [
    ("intents.tau", 1, 1 << 30),
    ("intents.rho", 1, 1 << 16),
    ("intents.prior", 1, 1 << 28),
    ("intents.prior_events", 1, 1 << 16),
    ("intents.floor", 1, 1 << 28),
    ("intents.mean_shrink", 1, 1 << 20),
    ("intents.count_cap", 2, 4_096),
    ("intents.micro_clusters_max", 16, 16_384),
    ("intents.background_micro_clusters", 2, 16_384),
    ("intents.background_events", 1, 1 << 20),
    ("intents.save_events", 1, 1 << 20),
];

impl Parameters {
    /// Sets the similarity from which an event joins a micro-cluster, above 0 and up to 1.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] outside of that range.
    pub fn tau(mut self, tau: f64) -> Result<Self, Invalid> {
        self.tau_q30 = fixed("intents.tau", tau, 30)?;
        Ok(self)
    }

    /// Sets the relative similarity from which intents become one, above 0 and up to 1.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] outside of that range.
    pub fn rho(mut self, rho: f64) -> Result<Self, Invalid> {
        self.rho_q16 = fixed("intents.rho", rho, 16)?;
        Ok(self)
    }

    /// Sets the coherence that is assumed of an intent without evidence, above 0 and up to 1, and how
    /// many events that assumption counts for.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] outside of that range.
    pub fn prior(mut self, coherence: f64, events: u32) -> Result<Self, Invalid> {
        self.prior_q28 = fixed("intents.prior", coherence, 28)?;
        self.prior_events = events;
        Ok(self)
    }

    /// Sets the similarity below which intents never become one, above 0 and up to 1.
    ///
    /// # Errors
    /// [`Invalid::Syntax`] outside of that range.
    pub fn floor(mut self, floor: f64) -> Result<Self, Invalid> {
        self.floor_q28 = fixed("intents.floor", floor, 28)?;
        Ok(self)
    }

    /// Checks every field against its range.
    ///
    /// # Errors
    /// [`Invalid::OutOfRange`]; [`Invalid::Syntax`] for a `count_cap` that is no power of two.
    pub fn check(&self) -> Result<(), Invalid> {
        for ((field, min, max), actual) in FIELDS.into_iter().zip(self.values()) {
            let actual = u64::from(actual);
            if !(min..=max).contains(&actual) {
                return Err(Invalid::OutOfRange {
                    field,
                    min,
                    max,
                    actual,
                });
            }
        }
        if !self.count_cap.is_power_of_two() {
            return Err(Invalid::Syntax {
                field: "intents.count_cap",
                expected: "a power of two",
            });
        }
        Ok(())
    }

    /// Bits by which a full micro-cluster's sums shrink before they take another event.
    pub(crate) const fn decay_shift(&self) -> u32 {
        self.count_cap.ilog2()
    }

    const fn values(&self) -> [u32; 11] {
        [
            self.tau_q30,
            self.rho_q16,
            self.prior_q28,
            self.prior_events,
            self.floor_q28,
            self.mean_shrink,
            self.count_cap,
            self.micro_clusters_max,
            self.background_micro_clusters,
            self.background_events,
            self.save_events,
        ]
    }

    /// Appends the fields as varints.
    pub(crate) fn encode(&self, out: &mut impl BufMut) {
        for value in self.values() {
            put_varint(out, value.into());
        }
    }

    /// Reads what [`Parameters::encode`] wrote.
    pub(crate) fn decode(reader: &mut Reader) -> Result<Self, DecodeError> {
        let mut values = [0_u32; FIELDS.len()];
        for (value, (field, _, _)) in values.iter_mut().zip(FIELDS) {
            let read = reader.varint(field)?;
            *value = u32::try_from(read).map_err(|_| DecodeError::Invalid { field })?;
        }
        let [
            tau_q30,
            rho_q16,
            prior_q28,
            prior_events,
            floor_q28,
            mean_shrink,
            count_cap,
            micro_clusters_max,
            background_micro_clusters,
            background_events,
            save_events,
        ] = values;
        let parameters = Self {
            tau_q30,
            rho_q16,
            prior_q28,
            prior_events,
            floor_q28,
            mean_shrink,
            count_cap,
            micro_clusters_max,
            background_micro_clusters,
            background_events,
            save_events,
        };
        match parameters.check() {
            Ok(()) => Ok(parameters),
            Err(invalid) => Err(DecodeError::Invalid {
                field: invalid.field(),
            }),
        }
    }
}

/// `value` with `bits` bits behind the point.
fn fixed(field: &'static str, value: f64, bits: u32) -> Result<u32, Invalid> {
    if !(value > 0.0 && value <= 1.0) {
        return Err(Invalid::Syntax {
            field,
            expected: "above 0 and at most 1",
        });
    }
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 2^30"
    )]
    let scaled = (value * f64::from(1_u32 << bits)).round() as u32;
    Ok(scaled.max(1))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn defaults_are_the_documented_numbers() {
        let set = Parameters::default()
            .tau(0.5)
            .and_then(|p| p.rho(0.85))
            .and_then(|p| p.prior(0.15, 8))
            .and_then(|p| p.floor(0.05))
            .expect("in range");
        assert_eq!(set, Parameters::default());
        assert_eq!(set.check(), Ok(()));
    }

    #[test]
    fn numbers_outside_their_range_are_refused_by_name() {
        assert!(Parameters::default().tau(0.0).is_err());
        assert!(Parameters::default().rho(f64::NAN).is_err());
        let odd = Parameters {
            count_cap: 1_000,
            ..Parameters::default()
        };
        assert_eq!(
            odd.check().map_err(|invalid| invalid.field()),
            Err("intents.count_cap")
        );
        let large = Parameters {
            micro_clusters_max: 1 << 20,
            ..Parameters::default()
        };
        assert!(matches!(
            large.check(),
            Err(Invalid::OutOfRange { max: 16_384, .. })
        ));
    }

    proptest! {
        #[test]
        fn parameters_round_trip(tau in 1_u32..1 << 30, cap in 1_u32..=12, save in 1_u32..1 << 20) {
            let parameters = Parameters {
                tau_q30: tau,
                count_cap: 1 << cap,
                save_events: save,
                ..Parameters::default()
            };
            let mut bytes = Vec::new();
            parameters.encode(&mut bytes);
            let mut reader = Reader::new(bytes.into());
            prop_assert_eq!(Parameters::decode(&mut reader), Ok(parameters));
        }
    }
}
