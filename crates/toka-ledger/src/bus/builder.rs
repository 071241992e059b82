//! How a vault is opened.

#[cfg(feature = "storage")]
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, watch};

use super::applier::{self, QUEUE_COMMITS_MAX};
use super::{Inner, VaultBus};
use crate::apply::{Ledger, LogMark, Outcome};
use crate::command::{Command, Create, FEATURE_LEVEL};
use crate::core::EmbeddingModel;
use crate::core::limits::DIMENSIONS_MAX;
use crate::dir::DataDir;
use crate::engine::memory::MemoryEngine;
use crate::engine::{Durability, Engine, EngineError};
use crate::error::{Error, Invalid};
use crate::intent::Parameters;
use crate::read::Settings;
use crate::seam::Seams;

const APPLY_THREAD: &str = "toka-apply";

/// Options of a vault; see [`VaultBus::builder`].
#[derive(Clone, Debug)]
#[must_use = "a vault is opened by `open`"]
pub struct Builder {
    #[cfg_attr(not(feature = "storage"), allow(dead_code))]
    cache_bytes: Option<usize>,
    dimension: Option<u16>,
    model: Option<String>,
    intents: Parameters,
    seams: Seams,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            cache_bytes: None,
            dimension: None,
            model: None,
            intents: Parameters::default(),
            seams: Seams::system(),
        }
    }
}

impl Builder {
    /// Memory for blocks that were read from storage, bytes; 64 MiB by default.
    pub const fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = Some(bytes);
        self
    }

    /// Dimension of all embeddings of a new vault, 1 to 4,096. By default, and in a vault that was
    /// created without, the first event with an embedding decides.
    pub const fn dimension(mut self, dimension: u16) -> Self {
        self.dimension = Some(dimension);
        self
    }

    /// Model that makes all embeddings: of a new vault; of a vault that is there and has another one it is
    /// not opened. Embeddings that are committed without the name of their model, such as by
    /// [`VaultBus::commit`], are named so. By default the first embedded event decides; if that names no
    /// model, none can be named later.
    ///
    /// ```
    /// use toka_ledger::{Error, Invalid, VaultBus};
    ///
    /// # #[cfg(feature = "storage")]
    /// # async fn example() -> Result<(), Error> {
    /// # let dir = tempfile::tempdir().expect("there is room");
    /// # let path = dir.path().join("vault-data");
    /// // `embedder.model_id()` of a `smart_embedder::SmartEmbedder`.
    /// let vault = VaultBus::builder().model("hashed-v1/384").open(&path)?;
    /// vault.commit("alice", &[], "auth.login", ndarray::arr1(&[0.1, 0.5, -0.2])).await?;
    /// vault.close().await;
    ///
    /// let refused = VaultBus::builder().model("minilm/384").open(&path).expect_err("another model");
    /// let Error::Invalid(Invalid::Model { expected, actual, .. }) = refused else { panic!("{refused}") };
    /// assert_eq!((expected.as_deref(), &*actual), (Some("hashed-v1/384"), "minilm/384"));
    /// # Ok(())
    /// # }
    /// # #[cfg(feature = "storage")]
    /// # tokio::runtime::Runtime::new().unwrap().block_on(example()).unwrap();
    /// ```
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Settings of the intents of a new vault. A vault that is there keeps its own.
    pub const fn intents(mut self, parameters: Parameters) -> Self {
        self.intents = parameters;
        self
    }

    /// Clock, randomness and thread start; the operating system's by default.
    pub fn seams(mut self, seams: Seams) -> Self {
        self.seams = seams;
        self
    }

    /// Opens the vault in the directory `path`, or makes a new one there.
    ///
    /// # Errors
    /// As [`VaultBus::open`]; [`Invalid::Dimension`] if the vault has another dimension,
    /// [`Invalid::Model`] if it has another model.
    #[cfg(feature = "storage")]
    pub fn open(self, path: impl AsRef<Path>) -> Result<VaultBus, Error> {
        use crate::dir::Mode;
        use crate::disk::SystemDisk;
        use crate::engine::rocks::{RocksEngine, RocksOptions};

        let mut dir = DataDir::open_or_create(Arc::new(SystemDisk), path.as_ref(), Mode::Embedded)?;
        let defaults = RocksOptions::default();
        let options = RocksOptions {
            // A store that was there once and is not any more was lost; a new one would hide that.
            create: !dir.is_complete(),
            block_cache_bytes: self.cache_bytes.unwrap_or(defaults.block_cache_bytes),
            ..defaults
        };
        let engine = RocksEngine::open(&dir.ledger(), &options)?;
        let ledger = self.open_ledger(Arc::new(engine))?;
        dir.set_complete()?;
        self.start(ledger, Some(dir))
    }

    /// Opens a vault in memory, which is gone when it is closed.
    ///
    /// # Errors
    /// [`Invalid::OutOfRange`] for a bad dimension.
    pub fn open_in_memory(self) -> Result<VaultBus, Error> {
        self.open_engine(Arc::new(MemoryEngine::new()))
    }

    /// Opens the vault that `engine` holds, or makes a new one in it.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open_engine(self, engine: Arc<dyn Engine>) -> Result<VaultBus, Error> {
        let ledger = self.open_ledger(engine)?;
        self.start(ledger, None)
    }

    fn open_ledger(&self, engine: Arc<dyn Engine>) -> Result<Ledger, Error> {
        if let Some(dimension) = self.dimension
            && (dimension == 0 || usize::from(dimension) > DIMENSIONS_MAX)
        {
            return Err(Error::Invalid(Invalid::OutOfRange {
                field: "dimension",
                min: 1,
                max: DIMENSIONS_MAX as u64,
                actual: dimension.into(),
            }));
        }
        let model = self.model.as_deref().map(EmbeddingModel::new).transpose()?;
        self.intents.check()?;
        let mut ledger = Ledger::open(engine, Arc::clone(&self.seams.threads))?;
        match ledger.reader().settings()? {
            None => self.create(&mut ledger, model)?,
            Some(settings) => {
                let has_embeddings = ledger.reader().clusterer().embedded() > 0;
                self.check(&settings, has_embeddings, model.as_ref())?;
            }
        }
        Ok(ledger)
    }

    /// Whether an existing vault is the one that was asked for.
    fn check(
        &self,
        settings: &Settings,
        has_embeddings: bool,
        model: Option<&EmbeddingModel>,
    ) -> Result<(), Invalid> {
        if let (Some(expected), Some(actual)) = (settings.dimension, self.dimension)
            && expected != actual
        {
            return Err(Invalid::Dimension {
                field: "dimension",
                expected: expected.into(),
                actual: actual.into(),
            });
        }
        if let Some(actual) = model
            && settings.model.as_ref() != Some(actual)
            && (has_embeddings || settings.model.is_some())
        {
            return Err(Invalid::Model {
                field: "model",
                expected: settings.model.as_ref().map(ToString::to_string),
                actual: actual.to_string(),
            });
        }
        Ok(())
    }

    fn create(&self, ledger: &mut Ledger, model: Option<EmbeddingModel>) -> Result<(), Error> {
        let create = Command::Create(Create {
            cluster_id: self.seams.random_u128(),
            history_id: self.seams.random_u128(),
            feature_level: FEATURE_LEVEL,
            dimension: self.dimension,
            model,
            intents: self.intents,
            unix_ms: self.seams.clock.unix_ms(),
        });
        let outcomes = ledger.apply(&[create], LogMark::default(), Durability::Synced)?;
        match outcomes.into_iter().next() {
            Some(Outcome::Rejected { rejection, .. }) => Err(rejection.into()),
            _ => Ok(()),
        }
    }

    fn start(self, ledger: Ledger, dir: Option<DataDir>) -> Result<VaultBus, Error> {
        let reader = ledger.reader();
        let model = self.model.as_deref().map(EmbeddingModel::new).transpose()?;
        let (requests, queue) = mpsc::channel(QUEUE_COMMITS_MAX);
        let (ended_sender, ended) = watch::channel(());
        let path = dir
            .as_ref()
            .map_or_else(|| "memory".into(), |dir| dir.path().to_owned());
        let apply_thread = self
            .seams
            .threads
            .spawn(
                APPLY_THREAD,
                Box::new(move || applier::run(ledger, queue, ended_sender)),
            )
            .map_err(|source| EngineError::Io {
                action: "start the apply thread of",
                path,
                source,
            })?;
        let inner = Inner {
            reader,
            seams: self.seams,
            model,
            requests: Mutex::new(Some(requests)),
            apply_thread: Mutex::new(Some(apply_thread)),
            ended,
            _dir: dir,
        };
        Ok(VaultBus {
            inner: Arc::new(inner),
        })
    }
}
