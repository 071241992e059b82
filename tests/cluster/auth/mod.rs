//! Who may call, and what is shown to whom.

mod calls;
mod jwt;
mod limits;
mod oracles;
mod scopes;
mod secrets;
