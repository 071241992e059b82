//! Vectors of events and of texts, made in this process.

use numpy::{PyArray1, PyArray2, PyArrayMethods as _};
use pyo3::prelude::*;
use smart_embedder::{ApiKey, EmbedderSpec, SmartEmbedder, Value, http};

use crate::call::Call;
use crate::error::Failure;
use crate::value::to_value;

/// The variable with an endpoint's key.
const KEY_VARIABLE: &str = "OPENAI_API_KEY";
/// Texts or events of one call.
const BATCH_MAX: usize = 100_000;

/// Makes vectors of one model; those of two models mean nothing to each other.
#[pyclass(frozen, name = "NativeEmbedder", module = "toka_vault._native")]
#[derive(Clone)]
pub(crate) struct Embedder(SmartEmbedder);

/// A vector on its way to Python, which takes its memory over.
struct Made(Vec<f32>);

impl<'py> IntoPyObject<'py> for Made {
    type Target = PyArray1<f32>;
    type Output = Bound<'py, PyArray1<f32>>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyArray1::from_vec(py, self.0))
    }
}

/// Vectors of one length, one after the other.
struct MadeRows {
    components: Vec<f32>,
    rows: usize,
    dimension: usize,
}

impl MadeRows {
    /// `dimension`: of an empty list.
    fn new(vectors: Vec<Vec<f32>>, dimension: usize) -> Self {
        let dimension = vectors.first().map_or(dimension, Vec::len);
        Self {
            rows: vectors.len(),
            dimension,
            components: vectors.concat(),
        }
    }
}

impl<'py> IntoPyObject<'py> for MadeRows {
    type Target = PyArray2<f32>;
    type Output = Bound<'py, PyArray2<f32>>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        PyArray1::from_vec(py, self.components).reshape([self.rows, self.dimension])
    }
}

/// The embedder that `spec` names: `hashed`, `hashed:DIM`, `model:DIR`, `openai:URL`, `openai:URL#MODEL`.
#[pyfunction]
#[pyo3(signature = (spec=None))]
pub(crate) fn embedder(spec: Option<String>) -> Result<Call, Failure> {
    let spec = match spec {
        Some(spec) => spec.parse::<EmbedderSpec>()?,
        None => EmbedderSpec::default(),
    };
    Ok(Call::new(async move {
        let key = match spec {
            EmbedderSpec::OpenAi { .. } => ApiKey::from_env(KEY_VARIABLE)?,
            _ => None,
        };
        let encoder = spec.open(key, http::Config::default()).await?;
        let embedder = SmartEmbedder::builder().shared_encoder(encoder).build();
        Ok(Embedder(embedder))
    }))
}

#[pymethods]
impl Embedder {
    /// Names what makes the vectors: to be committed with them.
    #[getter]
    fn model(&self) -> &str {
        self.0.model_id()
    }

    /// Components of a vector; `None` before the first reply of an endpoint.
    #[getter]
    fn dimension(&self) -> Option<usize> {
        self.0.dimension()
    }

    /// The vector of an event, float32, shape `[dimension]`.
    fn embed_event(&self, kind: String, payload: Bound<'_, PyAny>) -> Result<Call, Failure> {
        let (embedder, event) = (self.0.clone(), (kind, value_of(&payload)?));
        Ok(Call::new(async move {
            let mut vectors = embedder.embed_values(&[event]).await?;
            Ok(Made(vectors.pop().expect("one event, one vector")))
        }))
    }

    /// The vectors of events, each a kind and a payload; shape `[events, dimension]`.
    fn embed_events(&self, events: Vec<(String, Bound<'_, PyAny>)>) -> Result<Call, Failure> {
        check(events.len())?;
        let values = events.into_iter();
        let values = values.map(|(kind, payload)| Ok((kind, value_of(&payload)?)));
        let values = values.collect::<Result<Vec<_>, Failure>>()?;
        let embedder = self.0.clone();
        Ok(Call::new(async move {
            let vectors = embedder.embed_values(&values).await?;
            Ok(MadeRows::new(vectors, embedder.dimension().unwrap_or(0)))
        }))
    }

    /// The vector of a text, such as a query; shape `[dimension]`.
    fn embed_text(&self, text: String) -> Call {
        let embedder = self.0.clone();
        Call::new(async move { Ok(Made(embedder.embed_text(&text).await?)) })
    }

    /// The vectors of texts; shape `[texts, dimension]`.
    fn embed_texts(&self, texts: Vec<String>) -> Result<Call, Failure> {
        check(texts.len())?;
        let embedder = self.0.clone();
        Ok(Call::new(async move {
            let vectors = embedder.embed_texts(&texts).await?;
            Ok(MadeRows::new(vectors, embedder.dimension().unwrap_or(0)))
        }))
    }

    fn __repr__(&self) -> String {
        format!("<NativeEmbedder {:?}>", self.0.model_id())
    }
}

fn check(items: usize) -> Result<(), Failure> {
    match items <= BATCH_MAX {
        true => Ok(()),
        false => {
            let message = format!("at most {BATCH_MAX} are embedded at once, not {items}");
            Err(Failure::invalid("batch", message))
        }
    }
}

/// A payload as an embedder reads it: of bytes the value that they are, or else their kind alone counts.
fn value_of(payload: &Bound<'_, PyAny>) -> Result<Value, Failure> {
    match to_value(payload)? {
        Value::Binary(bytes) => {
            Ok(smart_embedder::event::from_payload(&bytes).unwrap_or(Value::Nil))
        }
        value => Ok(value),
    }
}
