//! Work that was begun from Python, and is waited for in one of two ways: with the thread, or with an event loop.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::IntoPyObjectExt as _;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3_async_runtimes::tokio::{future_into_py, get_runtime};

use crate::error::Failure;

/// How often a thread that waits looks for signals, so that Ctrl-C ends the wait.
const SIGNALS_INTERVAL: Duration = Duration::from_millis(50);

/// The process in which the threads are that vaults work with; 0 before there are any.
static PROCESS: AtomicU32 = AtomicU32::new(0);

type Work = Pin<Box<dyn Future<Output = Result<Py<PyAny>, Failure>> + Send>>;

/// Something that the vault is asked for. Nothing happens before it is waited for, once: with `wait()`, or with `await`.
#[pyclass(frozen, module = "toka_vault._native")]
pub(crate) struct Call(Mutex<Option<Work>>);

impl Call {
    pub(crate) fn new<T>(work: impl Future<Output = Result<T, Failure>> + Send + 'static) -> Self
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
    {
        let work: Work = Box::pin(async move {
            let done = work.await?;
            Python::attach(|py| -> Result<Py<PyAny>, Failure> { Ok(done.into_py_any(py)?) })
        });
        Self(Mutex::new(Some(work)))
    }

    /// Of work that blocks: on storage, or on files.
    pub(crate) fn blocking<T>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Self
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
    {
        Self::new(off_reactor(work))
    }

    fn take(&self) -> Result<Work, Failure> {
        if is_forked() {
            return Err(Failure::forked());
        }
        // Nothing panics while it is held.
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let work = work.take();
        work.ok_or_else(|| PyRuntimeError::new_err("a call is waited for once").into())
    }
}

/// Whether this process was forked from one that has used a vault. The threads of that one are not in it: whatever is asked
/// of them, or waits for their end, would wait for ever.
pub(crate) fn is_forked() -> bool {
    let here = std::process::id();
    let owner = PROCESS.compare_exchange(0, here, Ordering::Relaxed, Ordering::Relaxed);
    owner.is_err_and(|owner| owner != here)
}

/// Drops what may wait for threads of its own: without the interpreter, which others go on with meanwhile, and not at all
/// where these threads are not.
pub(crate) fn let_go<T: Send>(value: T) {
    if is_forked() {
        std::mem::forget(value);
        return;
    }
    let mut held = Some(value);
    Python::try_attach(|py| py.detach(|| drop(held.take())));
    // Where there is no interpreter any more it is still here.
    drop(held);
}

/// Whether this is the thread that signals are handled in. Another one need not look for them, which would take the
/// interpreter from the others many times a second.
fn is_main_thread(py: Python<'_>) -> PyResult<bool> {
    let threading = py.import("threading")?;
    let main = threading.call_method0("main_thread")?.getattr("ident")?;
    main.eq(threading.call_method0("get_ident")?)
}

/// Runs what blocks on a thread for that.
pub(crate) async fn off_reactor<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::interrupted()),
    }
}

#[pymethods]
impl Call {
    /// Waits with this thread; other threads of Python go on meanwhile. Ctrl-C ends the wait.
    fn wait(&self, py: Python<'_>) -> Result<Py<PyAny>, Failure> {
        let mut work = self.take()?;
        let looks_for_signals = is_main_thread(py)?;
        py.detach(move || {
            get_runtime().block_on(async move {
                if !looks_for_signals {
                    return work.await;
                }
                loop {
                    tokio::select! {
                        done = &mut work => return done,
                        () = tokio::time::sleep(SIGNALS_INTERVAL) => {
                            Python::attach(|py| py.check_signals())?;
                        }
                    }
                }
            })
        })
    }

    fn __await__<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyAny>, Failure> {
        let work = self.take()?;
        let future = future_into_py(py, async move { work.await.map_err(PyErr::from) })?;
        Ok(future.call_method0("__await__")?)
    }
}
