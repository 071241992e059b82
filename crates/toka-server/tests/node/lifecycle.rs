use toka_proto::v1;
use toka_server::{Config, Listeners, Node, Outside, StartError};

use crate::support::*;

fn alone(data: &std::path::Path) -> Config {
    let mut config = Config::new(1, data.to_owned());
    for address in [
        &mut config.listen,
        &mut config.raft_listen,
        &mut config.http_listen,
    ] {
        address.set_port(0);
    }
    config
}

async fn ready(config: Config) -> Node {
    let node = Node::start(config, Outside::system())
        .await
        .expect("started");
    within(node.ready()).await.expect("runs");
    node
}

fn vault(node: &Node) -> Vault {
    let endpoint = format!("http://{}", node.addresses().client);
    let endpoint = tonic::transport::Endpoint::from_shared(endpoint).expect("an address");
    Vault::new(endpoint.connect_lazy())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_stopped_has_everything_when_it_starts_again() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = ready(alone(data.path())).await;
    for i in 0..10 {
        commit(&mut vault(&node), "a", &i.to_string()).await;
    }
    within(node.shutdown()).await.expect("closed");
    let node = ready(alone(data.path())).await;
    let list = within(vault(&node).list(v1::ListRequest::default()))
        .await
        .expect("read");
    assert_eq!(list.into_inner().events.len(), 10);
    assert_eq!(commit(&mut vault(&node), "a", "10").await.0, 11);
    within(node.shutdown()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_told_its_id_has_that_of_its_data_directory() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let with_id = |node_id| {
        let mut config = alone(data.path());
        config.node_id = node_id;
        config
    };
    let start = async |node_id| Node::start(with_id(node_id), Outside::system()).await;
    let nobody = start(None).await.err().expect("nobody says which");
    assert!(matches!(nobody, StartError::Config(_)), "{nobody}");
    let node = ready(with_id(Some(1))).await;
    within(node.shutdown()).await.expect("closed");
    let other = start(Some(2)).await.err().expect("another node's");
    assert!(other.to_string().contains("belongs to node 1"), "{other}");
    let node = ready(with_id(None)).await;
    assert_eq!(node.replica().node_id(), 1);
    within(node.shutdown()).await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_a_node_in_good_order() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let node = ready(alone(data.path())).await;
    commit(&mut vault(&node), "a", "1").await;
    within(node.run_until(std::future::ready(())))
        .await
        .expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named_with_its_key() {
    let data = tempfile::tempdir().expect("a temporary directory");
    let first = Listeners::bind(&alone(data.path())).await.expect("bound");
    let mut config = alone(data.path());
    config.raft_listen = first.addresses().expect("bound").raft;
    let error = Listeners::bind(&config).await.expect_err("taken");
    assert!(
        matches!(
            error,
            StartError::Bind {
                key: "raft_listen",
                ..
            }
        ),
        "{error}"
    );
}
