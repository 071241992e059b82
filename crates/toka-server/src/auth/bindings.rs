//! Roles of those who show a client certificate, by a name in it. They are read anew when the configuration file changes that
//! says them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::file;
use crate::config::{ConfigError, read_certificate_roles};

/// Names of roles, by a name in a certificate.
type Roles = BTreeMap<String, Vec<String>>;

/// The roles of certificates, as they are now.
#[derive(Debug)]
pub(crate) struct Bindings {
    /// The configuration file, where that says them.
    path: Option<PathBuf>,
    roles: RwLock<Arc<Roles>>,
}

impl Bindings {
    /// Begins with these.
    pub(super) fn new(roles: Roles, path: Option<PathBuf>) -> Self {
        Self {
            path,
            roles: RwLock::new(Arc::new(roles)),
        }
    }

    pub(super) fn roles(&self) -> Arc<Roles> {
        // Nothing panics while it is held.
        Arc::clone(&self.roles.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over what the file says, now and then, for ever; `None` where no file says anything.
    pub(super) fn follow(self: Arc<Self>) -> Option<BoxFuture<'static, ()>> {
        let path = self.path.clone()?;
        let complain = |error: &ConfigError| {
            tracing::warn!(%error, "the roles of certificates cannot be read anew");
        };
        let follow = async move {
            let take = |roles| self.take(roles);
            file::follow(move || read_certificate_roles(&path), take, complain).await;
        };
        Some(follow.boxed())
    }

    pub(super) fn take(&self, roles: Roles) {
        let mut current = self.roles.write().unwrap_or_else(PoisonError::into_inner);
        if **current != roles {
            tracing::info!(names = roles.len(), "certificates have other roles");
            *current = Arc::new(roles);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(role: &str) -> Roles {
        BTreeMap::from([("robot.test".to_owned(), vec![role.to_owned()])])
    }

    #[test]
    fn other_roles_take_the_place_of_those_before() {
        let bindings = Bindings::new(roles("reader"), None);
        bindings.take(roles("writer"));
        assert_eq!(*bindings.roles(), roles("writer"));
    }

    #[test]
    fn roles_that_no_file_says_are_not_followed() {
        let bindings = Arc::new(Bindings::new(roles("reader"), None));
        assert!(bindings.follow().is_none());
    }
}
