//! The cluster that a client is of.
//!
//! Addresses are given to other nodes: where a member of one cluster was, one of another may be by now, as after
//! `toka cluster recover`. What is meant for one cluster must do nothing in another.

use std::sync::OnceLock;

use toka_proto::convert::metadata;
use tonic::metadata::MetadataMap;

use crate::error::Error;

/// The cluster, once it is known: given by the program, or that of the first reply. It never changes.
#[derive(Debug, Default)]
pub(crate) struct ClusterPin(OnceLock<u128>);

impl ClusterPin {
    pub(crate) fn new(cluster_id: Option<u128>) -> Self {
        Self(cluster_id.map_or_else(OnceLock::new, OnceLock::from))
    }

    pub(crate) fn get(&self) -> Option<u128> {
        self.0.get().copied()
    }

    /// A reply of `endpoint` has named its cluster.
    ///
    /// # Errors
    /// [`Error::OtherCluster`].
    pub(crate) fn check(&self, endpoint: &str, cluster_id: u128) -> Result<(), Error> {
        // A node that belongs to no cluster yet has none to name.
        if cluster_id == 0 {
            return Ok(());
        }
        let expected = *self.0.get_or_init(|| cluster_id);
        if expected == cluster_id {
            return Ok(());
        }
        Err(Error::OtherCluster {
            endpoint: endpoint.to_owned(),
            expected,
            actual: cluster_id,
        })
    }

    /// The same, by the head of a reply or of an error, if that names a cluster: what is between a client and its
    /// cluster, and older nodes, do not.
    ///
    /// # Errors
    /// [`Error::OtherCluster`], and [`Error::Reply`] if what stands there is no id.
    pub(crate) fn check_head(&self, endpoint: &str, head: &MetadataMap) -> Result<(), Error> {
        let named = metadata::cluster_id(head).map_err(|error| Error::reply(endpoint, error))?;
        named.map_or(Ok(()), |cluster_id| self.check(endpoint, cluster_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_cluster_that_is_named_stays() {
        let pin = ClusterPin::new(None);
        pin.check("a:1", 0).expect("none is named");
        assert_eq!(pin.get(), None);
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
    }

    #[test]
    fn cluster_that_the_program_names_holds_for_the_first_reply_too() {
        let pin = ClusterPin::new(Some(7));
        assert_eq!(pin.get(), Some(7));
        assert!(pin.check("a:1", 8).is_err());
    }
}
