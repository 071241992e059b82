use toka_measure as _;
use async_nats as _;
use etcd_client as _;
fn main() {}
