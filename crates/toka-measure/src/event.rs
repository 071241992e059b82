//! The events of a load.

use std::time::Instant;

use crate::stamp;

/// Things that the events of a load mean.
const TOPICS: u64 = 200;
/// Run, number and stamp: the fewest bytes of a payload.
pub const PAYLOAD_BYTES_MIN: usize = 16 + stamp::BYTES;

/// Makes events that differ from each other, also from run to run.
#[derive(Clone, Copy, Debug)]
pub struct Events {
    /// Makes the events of one run others than those of every other.
    pub run: u64,
    /// Length of each payload, at least [`PAYLOAD_BYTES_MIN`].
    pub payload_bytes: usize,
    /// Dimension of each embedding; 0 for none.
    pub dimension: u16,
}

impl Events {
    /// The payload of event `number`, which is due at `due`: run, number and stamp, then bytes that cannot be
    /// compressed, so that nobody gains by trying.
    #[must_use]
    pub fn payload(&self, number: u64, due: Instant) -> Vec<u8> {
        let mut payload = Vec::with_capacity(self.payload_bytes + 8);
        payload.extend(self.run.to_be_bytes());
        payload.extend(number.to_be_bytes());
        payload.extend(stamp::of(due));
        let mut noise = Noise::new(self.run ^ number);
        while payload.len() < self.payload_bytes {
            payload.extend(noise.next().to_le_bytes());
        }
        payload.truncate(self.payload_bytes.max(PAYLOAD_BYTES_MIN));
        payload
    }

    /// When an event with this payload was due.
    #[must_use]
    pub fn due(payload: &[u8]) -> Option<Instant> {
        let stamp = payload.get(16..PAYLOAD_BYTES_MIN)?;
        Some(stamp::read(stamp.try_into().ok()?))
    }

    /// The embedding of event `number`; `None` where events have none. One of 200 directions, and about as much
    /// again of its own: like texts that mean one of so many things. Nearly every event joins a micro-cluster;
    /// vectors without anything in common would each make one.
    #[must_use]
    pub fn embedding(&self, number: u64) -> Option<Vec<f32>> {
        if self.dimension == 0 {
            return None;
        }
        let own = direction(number, self.dimension);
        let topic = direction(u64::MAX - number % TOPICS, self.dimension);
        let pairs = own.iter().zip(topic);
        Some(pairs.map(|(own, topic)| 0.8 * own + topic).collect())
    }

    /// The event as one value, for stores that know no embeddings: the payload, and the components as
    /// little-endian `f32` behind it.
    #[must_use]
    pub fn value(&self, number: u64, due: Instant) -> Vec<u8> {
        let mut value = self.payload(number, due);
        for component in self.embedding(number).unwrap_or_default() {
            value.extend(component.to_le_bytes());
        }
        value
    }
}

/// A vector that looks random and costs little, shape `[dimension]`, not normalised.
fn direction(number: u64, dimension: u16) -> Vec<f32> {
    let mut noise = Noise::new(number);
    // The upper 16 bits, around zero; never all zero, since one half is no integer.
    let component = |_| f32::from((noise.next() >> 48) as u16) - 32_767.5;
    (0..dimension).map(component).collect()
}

/// A multiplicative generator.
struct Noise(u64);

impl Noise {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(1);
        // Its low bits alone have short periods.
        self.0 ^ (self.0 >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: Events = Events {
        run: 7,
        payload_bytes: 256,
        dimension: 768,
    };

    #[test]
    fn a_value_has_payload_and_embedding() {
        let value = EVENTS.value(1, Instant::now());
        assert_eq!(value.len(), 256 + 4 * 768);
        assert!(value.starts_with(&[0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1]));
    }

    #[test]
    fn no_two_events_of_two_runs_are_the_same() {
        let at = Instant::now();
        let other = Events { run: 8, ..EVENTS };
        let payloads = [
            EVENTS.payload(1, at),
            EVENTS.payload(2, at),
            other.payload(1, at),
        ];
        assert!(payloads[0] != payloads[1] && payloads[0] != payloads[2]);
        assert!(payloads.iter().all(|payload| payload.len() == 256));
    }

    #[test]
    fn a_payload_tells_when_it_was_due() {
        let _ = stamp::of(Instant::now());
        let due = Instant::now();
        assert_eq!(Events::due(&EVENTS.payload(3, due)), Some(due));
        assert_eq!(Events::due(&[0; 8]), None);
    }
}
