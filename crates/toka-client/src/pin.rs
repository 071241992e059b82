//! The cluster that a client is of.
//!
//! Addresses are given to other nodes: where a member of one cluster was, one of another may be by now, as after
//! `toka cluster recover`. What is meant for one cluster must do nothing in another.

use std::sync::OnceLock;

use toka_proto::convert::metadata;
use tokio::sync::OnceCell;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::error::Error;

/// The cluster, once it is known: given by the program, or that of the first reply. It never changes.
#[derive(Debug, Default)]
pub(crate) struct ClusterPin {
    cluster_id: OnceLock<u128>,
    /// How it stands in the head of each request.
    value: OnceLock<AsciiMetadataValue>,
    asked: OnceCell<()>,
}

impl ClusterPin {
    pub(crate) fn new(cluster_id: Option<u128>) -> Self {
        Self {
            cluster_id: cluster_id.map_or_else(OnceLock::new, OnceLock::from),
            value: OnceLock::new(),
            asked: OnceCell::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<u128> {
        self.cluster_id.get().copied()
    }

    /// The cluster as it stands in the head of a request, once it is known.
    pub(crate) fn value(&self) -> Option<AsciiMetadataValue> {
        let cluster_id = self.get()?;
        let value = || metadata::cluster_id_value(cluster_id);
        Some(self.value.get_or_init(value).clone())
    }

    /// Holds something once a node was asked for its cluster, so that many calls at once ask one.
    pub(crate) fn asked(&self) -> &OnceCell<()> {
        &self.asked
    }

    /// A reply of `endpoint` has named its cluster, which is the client's from now on if none was before.
    ///
    /// # Errors
    /// [`Error::OtherCluster`].
    pub(crate) fn check(&self, endpoint: &str, cluster_id: u128) -> Result<(), Error> {
        // A node that belongs to no cluster yet has none to name.
        if cluster_id != 0 {
            self.cluster_id.get_or_init(|| cluster_id);
        }
        self.compare(endpoint, cluster_id)
    }

    /// As [`ClusterPin::check`], but the client is of no other cluster for it than before.
    ///
    /// # Errors
    /// [`Error::OtherCluster`].
    pub(crate) fn compare(&self, endpoint: &str, cluster_id: u128) -> Result<(), Error> {
        match self.get() {
            Some(expected) if cluster_id != 0 && expected != cluster_id => {
                Err(Error::OtherCluster {
                    endpoint: endpoint.to_owned(),
                    expected,
                    actual: cluster_id,
                    answered: false,
                })
            }
            _ => Ok(()),
        }
    }

    /// As [`ClusterPin::check`], by the head of a reply.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], [`Error::Reply`].
    pub(crate) fn check_head(&self, endpoint: &str, head: &MetadataMap) -> Result<(), Error> {
        named(endpoint, head)?.map_or(Ok(()), |cluster_id| self.check(endpoint, cluster_id))
    }
}

/// The cluster that the head of a reply or of an error names, if it does: what is between a client and its cluster, and
/// older nodes, do not.
///
/// # Errors
/// [`Error::Reply`] if what stands there is no id.
pub(crate) fn named(endpoint: &str, head: &MetadataMap) -> Result<Option<u128>, Error> {
    metadata::cluster_id(head).map_err(|error| Error::reply(endpoint, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_cluster_that_is_named_stays() {
        let pin = ClusterPin::new(None);
        pin.check("a:1", 0).expect("none is named");
        assert_eq!((pin.get(), pin.value()), (None, None));
        let mut head = MetadataMap::new();
        pin.check_head("a:1", &head).expect("none is named");
        pin.check("a:1", 7).expect("the first one");
        metadata::put_cluster_id(&mut head, 8);
        let other = pin.check_head("b:1", &head).expect_err("another one");
        assert!(
            matches!(
                other,
                Error::OtherCluster {
                    expected: 7,
                    actual: 8,
                    ..
                }
            ),
            "{other}"
        );
        pin.check("b:1", 7).expect("the same");
        assert_eq!(pin.value(), Some(metadata::cluster_id_value(7)));
    }

    #[test]
    fn cluster_that_the_program_names_holds_for_the_first_reply_too() {
        let pin = ClusterPin::new(Some(7));
        assert_eq!(pin.get(), Some(7));
        assert!(pin.check("a:1", 8).is_err());
    }

    #[test]
    fn cluster_that_is_only_compared_is_not_kept() {
        let pin = ClusterPin::new(None);
        pin.compare("a:1", 7).expect("there is none yet");
        assert_eq!(pin.get(), None);
        pin.check("b:1", 8).expect("the first one");
        assert!(pin.compare("a:1", 7).is_err());
        pin.compare("c:1", 0).expect("none is named");
    }
}
