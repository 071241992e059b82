//! Failures, and the exceptions that they become: the classes of `toka_vault.errors`, each with a code.

mod codes;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;

/// Why something did not work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It becomes one of `toka_vault.errors`.
    Raised(Box<Raised>),
    /// Python has raised it.
    Python(PyErr),
}

/// An exception that was not made yet.
#[derive(Debug)]
pub(crate) struct Raised {
    /// Its class in `toka_vault.errors`.
    class: &'static str,
    /// What tells it from others of its class; never changes.
    code: &'static str,
    message: String,
    /// Whether the same call may succeed later.
    is_retryable: bool,
    /// Further attributes.
    facts: Vec<(&'static str, Fact)>,
}

/// An attribute of an exception.
#[derive(Debug)]
pub(crate) enum Fact {
    Number(u64),
    Text(String),
    Texts(Vec<String>),
}

impl Failure {
    pub(crate) fn new(class: &'static str, code: &'static str, message: impl ToString) -> Self {
        Self::Raised(Box::new(Raised {
            class,
            code,
            message: message.to_string(),
            is_retryable: false,
            facts: Vec::new(),
        }))
    }

    /// Of an argument.
    pub(crate) fn invalid(field: &'static str, message: impl ToString) -> Self {
        let text = message.to_string();
        Self::new("InvalidError", "invalid", format!("{field}: {text}"))
            .with("field", Fact::Text(field.to_owned()))
    }

    /// Of a vault that was closed.
    pub(crate) fn closed() -> Self {
        Self::new("ClosedError", "closed", "the vault is closed")
    }

    /// Of a follower that was closed.
    pub(crate) fn follower_closed() -> Self {
        Self::new("ClosedError", "closed", "the follower is closed")
    }

    /// Of a process that was forked from one that has used a vault.
    pub(crate) fn forked() -> Self {
        let message = "this process was forked from one that has used a vault, whose threads it does not have; \
                       start it with `spawn`, or use vaults in it alone";
        Self::new("ForkedError", "forked", message)
    }

    /// Of a wait for an event that has not come in time.
    pub(crate) fn waited() -> Self {
        let message = "no event has come within the time";
        Self::new("WaitTimeoutError", "timeout", message).retryable(true)
    }

    /// Of work that a shutdown of the runtime has ended.
    pub(crate) fn interrupted() -> Self {
        Self::new("VaultError", "interrupted", "the work was interrupted")
    }

    fn retryable(mut self, is_retryable: bool) -> Self {
        if let Self::Raised(raised) = &mut self {
            raised.is_retryable = is_retryable;
        }
        self
    }

    fn with(mut self, name: &'static str, fact: Fact) -> Self {
        if let Self::Raised(raised) = &mut self {
            raised.facts.push((name, fact));
        }
        self
    }
}

impl From<PyErr> for Failure {
    fn from(error: PyErr) -> Self {
        Self::Python(error)
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Python(error) => error,
            Failure::Raised(raised) => Python::attach(|py| match raised.make(py) {
                Ok(exception) => Self::from_value(exception),
                Err(error) => error,
            }),
        }
    }
}

impl Raised {
    fn make<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        // Where the package is not whole, what has happened is said all the same.
        let module = py
            .import("toka_vault.errors")
            .map_err(|error| PyRuntimeError::new_err(format!("{} ({error})", self.message)))?;
        let raised = module.getattr(self.class)?.call1((&self.message,))?;
        raised.setattr("code", self.code)?;
        raised.setattr("is_retryable", self.is_retryable)?;
        for (name, fact) in &self.facts {
            match fact {
                Fact::Number(number) => raised.setattr(*name, *number)?,
                Fact::Text(text) => raised.setattr(*name, text)?,
                Fact::Texts(texts) => raised.setattr(*name, texts)?,
            }
        }
        Ok(raised)
    }
}
