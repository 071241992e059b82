//! One line of an import or export.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use toka_ledger::credentials::is_audit_kind;
use toka_ledger::prepare::EventDraft;
use toka_ledger::{Attributes, Digest, Kind, Salt, hash};

use crate::cmd::read::floats;
use crate::embed::{self, Unembedded};
use crate::failure::Failure;
use crate::output::{self, PayloadView};
use crate::payload::{self, from_hex};
use crate::target::Record;

/// Newest format of lines that this build reads. A line that names none is of format 1.
const FORMAT: u32 = 1;

/// What a line says of itself in every format.
#[derive(Deserialize)]
struct Versioned {
    format: Option<u32>,
}

/// An event in JSON Lines.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Line {
    /// Of the line; absent: 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    format: Option<u32>,
    /// What later lines call it.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// By ref, digest or id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) parents: Vec<String>,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload: Option<Value>,
    /// The payload's bytes, where they are no MessagePack that JSON can express.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    embedding: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) embedding_model: Option<String>,
    /// Hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

impl Line {
    /// Reads a line. Of a newer format nothing but its number is known.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let parsed = serde_json::from_str::<Self>(text);
        let is_known = |line: &Self| line.format.is_none_or(|format| format <= FORMAT);
        if !parsed.as_ref().is_ok_and(is_known)
            && let Ok(Versioned {
                format: Some(found),
            }) = serde_json::from_str(text)
            && found > FORMAT
        {
            bail!(Failure::Refused(format!(
                "it is in format {found} of exports; this build reads up to {FORMAT}"
            )));
        }
        Ok(parsed?)
    }

    /// Whether only a vault itself makes such events.
    pub(crate) fn is_audit(&self) -> bool {
        is_audit_kind(&self.kind)
    }

    /// The event, and the identity that it will have. If it is `to_embed` and the line has no
    /// embedding, there is something to be embedded of it.
    pub(crate) fn draft(&self, parents: &[Digest], to_embed: bool) -> Result<(Unembedded, Digest)> {
        let payload = self.payload()?;
        let to_embed = to_embed && self.embedding.is_none();
        let event = to_embed.then(|| embed::event(&self.kind, &payload));
        let event = event.transpose()?;
        let salt = self
            .salt
            .as_deref()
            .map(from_hex)
            .transpose()?
            .unwrap_or_default();
        let mut sorted = parents.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let digest = hash::event_digest(
            &Kind::new(&self.kind)?,
            &hash::payload_digest(&payload),
            &Salt::new(&salt)?,
            &sorted,
        );
        let mut draft = EventDraft::new(&self.kind)
            .payload_bytes(payload)
            .salt(&salt)
            .parents_by_digest(sorted)
            .attributes(Attributes {
                source: self.source.clone(),
                content_type: self.content_type.clone(),
                pairs: self.attributes.clone(),
            });
        if let Some(embedding) = &self.embedding {
            draft = with_embedding(draft, embedding)?;
        }
        if let Some(model) = &self.embedding_model {
            draft = draft.model(model);
        }
        Ok(((draft, event), digest))
    }

    fn payload(&self) -> Result<Bytes> {
        match (&self.payload, &self.payload_base64) {
            (Some(_), Some(_)) => bail!("payload and payload_base64 exclude each other"),
            (None, Some(text)) => payload::from_base64(text),
            (Some(value), None) => payload::from_json(value),
            (None, None) => payload::from_json(&Value::Null),
        }
    }

    /// The line that gives the same event again.
    pub(crate) fn of(record: &Record) -> Result<Self> {
        let header = &record.header;
        let mut line = Self {
            name: Some(header.digest.to_string()),
            parents: header
                .parents
                .iter()
                .map(|parent| parent.digest.to_string())
                .collect(),
            kind: header.kind.to_string(),
            embedding: record.embedding.as_deref().map(floats),
            salt: (!header.salt.is_empty()).then(|| output::hex(header.salt.as_bytes())),
            source: header.attributes.source.clone(),
            content_type: header.attributes.content_type.clone(),
            attributes: header.attributes.pairs.clone(),
            ..Self::default()
        };
        match record.payload.as_ref().map(PayloadView::json) {
            Some(("payload", value)) => line.payload = Some(value),
            Some(("payload_base64", Value::String(text))) => line.payload_base64 = Some(text),
            _ => bail!(
                "the payload of event {} was erased and cannot be exported",
                header.id
            ),
        }
        Ok(line)
    }
}

/// Components that are quantised already (multiples of 2^-14, of unit norm) stay as they are.
fn with_embedding(draft: EventDraft, embedding: &Value) -> Result<EventDraft> {
    let components: Vec<f64> = serde_json::from_value(embedding.clone())?;
    ensure!(!components.is_empty(), "embedding is empty");
    let scaled: Vec<f64> = components.iter().map(|x| x * 16_384.0).collect();
    let norm_squared: f64 = scaled.iter().map(|q| q * q).sum();
    let unit = 16_384.0 * 16_384.0;
    let is_quantised = scaled
        .iter()
        .all(|q| q.fract() == 0.0 && q.abs() <= 16_384.0)
        && (norm_squared - unit).abs() <= unit / 100.0;
    if is_quantised {
        // Whole numbers within +-16,384, as was just checked.
        #[allow(clippy::cast_possible_truncation)]
        let quantised: Vec<i16> = scaled.iter().map(|&q| q as i16).collect();
        return Ok(draft.quantized(&quantised));
    }
    #[allow(clippy::cast_possible_truncation)]
    let components: Vec<f32> = components.iter().map(|&x| x as f32).collect();
    Ok(draft.embedding(&components))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Line> {
        Line::parse(text)
    }

    #[test]
    fn line_of_a_newer_format_is_refused_by_its_number() {
        let error = parse(r#"{"format":2,"kind":"a","new":1}"#).expect_err("refused");
        assert!(error.to_string().contains("format 2"), "{error}");
        assert!(parse(r#"{"format":1,"kind":"a"}"#).is_ok());
    }

    #[test]
    fn an_unknown_field_is_named() {
        let error = parse(r#"{"kind":"a","paylod":1}"#).expect_err("refused");
        assert!(error.to_string().contains("paylod"), "{error}");
    }

    #[test]
    fn quantised_components_stay_as_they_are() {
        let line = parse(r#"{"kind":"a","embedding":[0.6000366210937500,-0.79998779296875]}"#);
        let ((draft, _), _) = line.expect("parses").draft(&[], false).expect("valid");
        let event = draft.prepare().expect("valid");
        let embedding = event.embedding.expect("has one");
        assert_eq!(embedding.iter().collect::<Vec<_>>(), [9831, -13107]);
    }

    #[test]
    fn the_digest_is_the_one_that_the_vault_computes() {
        let line = parse(r#"{"kind":"a","payload":{"b":1},"salt":"00ff"}"#).expect("parses");
        let ((draft, _), digest) = line
            .draft(&[Digest([2; 32]), Digest([1; 32])], false)
            .expect("valid");
        let event = draft.prepare().expect("valid");
        let parents = [Digest([1; 32]), Digest([2; 32])];
        let expected =
            hash::event_digest(&event.kind, &event.payload_digest, &event.salt, &parents);
        assert_eq!(digest, expected);
    }
}
