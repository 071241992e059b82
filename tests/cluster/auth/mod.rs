//! Who may call, and what is shown to whom.

mod calls;
mod certificates;
mod forgery;
mod jwt;
mod lasting;
mod limits;
mod narrow;
mod oracles;
mod scopes;
mod secrets;
