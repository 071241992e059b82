//! Checking a node's vault.

use toka_ledger::Invalid;
use toka_ledger::engine::Table;
use toka_ledger::verify::{Problem, Progress, Report};

use super::ident;
use super::read::Header;
use crate::v1;
use crate::v1::verify_response::Part as Message;

/// A part of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// How far it is.
    Progress(Progress),
    /// The end.
    Report(Box<Verified>),
}

/// What a verification has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The node that was checked; revision and sequence are those up to which everything was.
    pub header: Header,
    /// What was found.
    pub report: Report,
}

impl From<Part> for v1::VerifyResponse {
    fn from(part: Part) -> Self {
        let part = match part {
            Part::Progress(Progress { checked, total }) => {
                Message::Progress(v1::VerifyProgress { checked, total })
            }
            Part::Report(verified) => Message::Report(report(*verified)),
        };
        Self { part: Some(part) }
    }
}

fn report(verified: Verified) -> v1::VerifyReport {
    let Verified { header, report } = verified;
    v1::VerifyReport {
        header: Some(header.into()),
        events: report.events,
        payloads: report.payloads,
        embeddings: report.embeddings,
        erased: report.erased,
        history_root: ident::digest_bytes(&report.history_root),
        state_digest: ident::digest_bytes(&report.state_digest),
        state_stretches: report.state_stretches,
        bytes: report.bytes,
        problems: report.problems.into_iter().map(problem).collect(),
        problems_total: report.problems_total,
    }
}

fn problem(problem: Problem) -> v1::VerifyProblem {
    v1::VerifyProblem {
        sequence: problem.sequence,
        id: problem
            .id
            .map(|id| ident::event_id_bytes(&id))
            .unwrap_or_default(),
        table: problem.table.map_or("", Table::name).to_owned(),
        detail: problem.detail,
    }
}

impl TryFrom<v1::VerifyResponse> for Part {
    type Error = Invalid;

    fn try_from(message: v1::VerifyResponse) -> Result<Self, Invalid> {
        let part = message.part.ok_or(Invalid::Empty { field: "part" })?;
        Ok(match part {
            Message::Progress(v1::VerifyProgress { checked, total }) => {
                Self::Progress(Progress { checked, total })
            }
            Message::Report(report) => Self::Report(Box::new(report.try_into()?)),
        })
    }
}

impl TryFrom<v1::VerifyReport> for Verified {
    type Error = Invalid;

    fn try_from(message: v1::VerifyReport) -> Result<Self, Invalid> {
        let problems = message.problems.into_iter();
        Ok(Self {
            header: message.header.try_into()?,
            report: Report {
                events: message.events,
                payloads: message.payloads,
                embeddings: message.embeddings,
                erased: message.erased,
                history_root: ident::digest("history_root", &message.history_root)?,
                state_digest: ident::digest("state_digest", &message.state_digest)?,
                state_stretches: message.state_stretches,
                bytes: message.bytes,
                problems: problems.map(Problem::try_from).collect::<Result<_, _>>()?,
                problems_total: message.problems_total,
            },
        })
    }
}

impl TryFrom<v1::VerifyProblem> for Problem {
    type Error = Invalid;

    fn try_from(message: v1::VerifyProblem) -> Result<Self, Invalid> {
        let id = match message.id.is_empty() {
            true => None,
            false => Some(ident::event_id("problems.id", &message.id)?),
        };
        // A newer node may have one that this build does not know.
        let table = Table::ALL
            .into_iter()
            .find(|table| table.name() == message.table);
        Ok(Self {
            sequence: message.sequence,
            id,
            table,
            detail: message.detail,
            is_unreadable: false,
        })
    }
}

#[cfg(test)]
mod tests {
    use toka_ledger::{Digest, EventId};

    use super::*;

    fn parts() -> [Part; 2] {
        let problem = |sequence, id, table| Problem {
            sequence,
            id,
            table,
            detail: "the row is missing".to_owned(),
            is_unreadable: false,
        };
        let verified = Verified {
            header: Header {
                cluster_id: 1,
                history_id: 2,
                node_id: 3,
                term: 4,
                revision: 5,
                sequence: 6,
            },
            report: Report {
                events: 6,
                payloads: 5,
                embeddings: 4,
                erased: 3,
                history_root: Digest([8; 32]),
                state_digest: Digest([9; 32]),
                state_stretches: 2,
                bytes: 1,
                problems: vec![
                    problem(
                        Some(5),
                        Some(EventId::from_bytes([7; 16])),
                        Some(Table::Kinds),
                    ),
                    problem(Some(6), None, Some(Table::Headers)),
                    problem(None, None, None),
                ],
                problems_total: 1_003,
            },
        };
        let progress = Progress {
            checked: 256,
            total: 300,
        };
        [Part::Progress(progress), Part::Report(Box::new(verified))]
    }

    #[test]
    fn parts_round_trip() {
        for part in parts() {
            let message = v1::VerifyResponse::from(part.clone());
            assert_eq!(Part::try_from(message), Ok(part));
        }
    }

    #[test]
    fn answer_without_a_part_is_refused() {
        assert!(Part::try_from(v1::VerifyResponse::default()).is_err());
        let empty = v1::VerifyReport::default();
        assert!(Verified::try_from(empty).is_err(), "no header");
    }
}
