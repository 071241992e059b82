//! The chart, as the real helm renders it: against the schemas of Kubernetes and its policies, and with real processes
//! that are run as its pods would be.

mod auth;
mod container;
mod documents;
mod facts;
mod helm;
mod matrix;
mod monitoring;
mod pod;
mod refused;
mod release;
mod rollout;
mod secrets;
mod security;
mod tls;
mod writers;
