//! What the vault takes from the outside world: time, randomness and threads.
//!
//! Product code never reaches for these itself; they are passed in, so that a whole cluster can
//! run in one deterministic process. The disk comes in through
//! [`crate::disk::Disk`], what the tables are stored in through [`crate::engine::Engine`].

use std::fmt;
use std::io;
use std::sync::Arc;

use tokio::task::JoinError;

/// Wall clock.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// Milliseconds since the Unix epoch.
    fn unix_ms(&self) -> u64;
}

/// Source of unpredictable bytes (identifiers and salts, never anything that `apply` reads).
pub trait Entropy: Send + Sync + fmt::Debug + 'static {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// A started thread that can be waited for.
pub trait JoinThread: Send {
    /// Waits until the thread has ended.
    fn join(self: Box<Self>);
}

/// Starts threads.
pub trait Threads: Send + Sync + fmt::Debug + 'static {
    /// Starts `body` on a thread called `name`.
    ///
    /// # Errors
    /// The operating system's, if it has no thread left.
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> io::Result<Box<dyn JoinThread>>;
}

/// The three of them together, cheap to clone.
#[derive(Clone, Debug)]
pub struct Seams {
    /// Wall clock.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Thread start.
    pub threads: Arc<dyn Threads>,
}

impl Seams {
    /// The operating system's clock, randomness and threads.
    #[must_use]
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            threads: Arc::new(SystemThreads),
        }
    }

    /// A random 128-bit number that is not zero.
    #[must_use]
    pub fn random_u128(&self) -> u128 {
        loop {
            let mut bytes = [0; 16];
            self.entropy.fill(&mut bytes);
            let number = u128::from_be_bytes(bytes);
            if number != 0 {
                return number;
            }
        }
    }
}

/// Runs `work`, which may block, on tokio's threads for such work. In a simulation, which has one thread, it runs
/// at once.
///
/// # Errors
/// If `work` panics, or the runtime is shut down before it began.
pub async fn off_reactor<T, F>(work: F) -> Result<T, JoinError>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    if cfg!(simulation) {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn unix_ms(&self) -> u64 {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
    }
}

/// The operating system's randomness.
#[derive(Debug)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[allow(clippy::disallowed_methods, reason = "this is the seam")]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system provides randomness");
    }
}

/// No threads: what would run on one runs at once, on the caller's. For work that ends by itself.
#[derive(Debug)]
pub struct InlineThreads;

impl Threads for InlineThreads {
    fn spawn(
        &self,
        _name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> io::Result<Box<dyn JoinThread>> {
        body();
        Ok(Box::new(Ended))
    }
}

struct Ended;

impl JoinThread for Ended {
    fn join(self: Box<Self>) {}
}

/// The operating system's threads.
#[derive(Debug)]
pub struct SystemThreads;

impl JoinThread for std::thread::JoinHandle<()> {
    fn join(self: Box<Self>) {
        // A panic of the thread has been printed by the panic hook and was reported by whatever
        // channel the thread held.
        let _ = std::thread::JoinHandle::join(*self);
    }
}

impl Threads for SystemThreads {
    fn spawn(
        &self,
        name: &str,
        body: Box<dyn FnOnce() + Send + 'static>,
    ) -> io::Result<Box<dyn JoinThread>> {
        let handle = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(body)?;
        Ok(Box::new(handle))
    }
}
