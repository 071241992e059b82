//! A fixed stream of embedded events.

#![allow(dead_code, reason = "each test file uses a part of it")]

use toka_ledger::command::{Command, Commit};

use crate::apply_support::{NOW, With, commit, event};

/// A small generator of our own, so that the stream never changes.
pub(crate) struct Lcg(u64);

impl Lcg {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 32 bits.
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    /// Between -1 and 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.next() >> 8) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn below(&mut self, end: u32) -> u32 {
        self.next() % end
    }
}

/// Vectors around `topics` directions, shape `[count][dimension]`.
pub(crate) fn vectors(seed: u64, count: usize, dimension: usize, topics: u32) -> Vec<Vec<f32>> {
    let mut random = Lcg::new(seed);
    let mut vector =
        |spread: f32| -> Vec<f32> { (0..dimension).map(|_| random.unit() * spread).collect() };
    let centres: Vec<_> = (0..topics).map(|_| vector(1.0)).collect();
    let noise: Vec<_> = (0..count).map(|_| vector(0.9)).collect();
    let mut random = Lcg::new(seed ^ 1);
    noise
        .into_iter()
        .map(|noise| {
            let centre = &centres[random.below(topics) as usize];
            centre.iter().zip(noise).map(|(a, b)| a + b).collect()
        })
        .collect()
}

/// A commit for each vector; among them events without one, repeats, and commits that are refused.
pub(crate) fn commands(vectors: &[Vec<f32>]) -> Vec<Command> {
    let mut commands = Vec::new();
    for (n, vector) in vectors.iter().enumerate() {
        let payload = n.to_string();
        let mut events = vec![event("embedded", &payload).embedded(vector)];
        if n % 7 == 0 {
            events.push(event("plain", &payload));
        }
        if n % 11 == 0 {
            // Within one commit, too: a repeat, and another event with the same vector.
            events.push(event("embedded", &payload).embedded(vector));
            events.push(event("again", &payload).embedded(vector));
        }
        let at = |commit: Commit| {
            Command::Commit(Commit {
                unix_ms: NOW + n as u64,
                ..commit
            })
        };
        commands.push(at(commit(events)));
        if n % 13 == 0 {
            let other = event("refused", &payload).embedded(&[1.0]);
            commands.push(at(commit([other])));
        }
        if n % 17 == 0 {
            commands.push(at(commit([event("embedded", &payload).embedded(vector)])));
        }
    }
    commands
}
