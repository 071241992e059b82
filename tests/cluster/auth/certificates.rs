//! Roles by the names in client certificates, also of callers whom a follower forwards.

use std::path::Path;

use anyhow::{Result, ensure};
use tempfile::TempDir;
use toka_client::{Client, CredentialKind, Error, EventDraft, List, Tls};
use toka_proto::convert::metadata;
use toka_tests::cluster::{self, Cluster, PATIENCE};
use toka_tests::tls::{Certificates, Files};
use toka_tests::{request, wait};
use tonic::Code;
use tonic::metadata::BinaryMetadataValue;

const ROLES: [&str; 5] = [
    "--auth",
    "--certificate-role",
    "client.example=admin",
    "--certificate-role",
    "robot.example=reader",
];

/// A client of node `id` alone, that shows a certificate.
async fn client(cluster: &Cluster, id: u64, tls: &Tls) -> Result<Client> {
    let builder = Client::builder().timeout(PATIENCE).tls(tls.clone());
    Ok(builder.connect([cluster.node(id).endpoint()]).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_has_the_roles_of_its_name_through_any_node() -> Result<()> {
    cluster::run_prepared(3, &ROLES, async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let directory = cluster.directory().join("tls");
        let files = |name: &str, names: &[&str]| {
            let signed = certificates.clients.sign(name, names)?;
            Files::new(&directory, name, &signed, &certificates.nodes.pem)
        };
        let robot = files("robot", &["other.example", "robot.example"])?.client();
        let stranger = files("stranger", &["*.example", "admin"])?.client();
        for id in cluster.ids() {
            let admin = client(cluster, id, &certificates.of_client.client()).await?;
            wait::until("a commit", PATIENCE, async || {
                Ok(admin.commit(EventDraft::new("task.new")).await?)
            })
            .await?;
            let reader = client(cluster, id, &robot).await?;
            let identity = reader.who_am_i().await?;
            ensure!(
                identity.principal == "robot.example"
                    && identity.credential == CredentialKind::Certificate,
                "{identity:?}"
            );
            reader.list(&List::default(), None).await?;
            let denied = reader.commit(EventDraft::new("task.new")).await;
            ensure!(
                matches!(denied, Err(Error::PermissionDenied { .. })),
                "node {id}: {denied:?}"
            );
            // A name with a star is that name, and covers no other one.
            let nobody = client(cluster, id, &stranger).await?;
            let denied = nobody.list(&List::default(), None).await;
            ensure!(
                matches!(denied, Err(Error::PermissionDenied { .. })),
                "node {id}: {denied:?}"
            );
        }
        Ok(())
    })
    .await
}

/// A configuration file that says who has which role; it takes the place of the one before as a whole.
fn say_roles(file: &Path, roles: &[&str]) -> Result<()> {
    let next = file.with_extension("next");
    std::fs::write(&next, format!("certificate_roles = {roles:?}\n"))?;
    std::fs::rename(&next, file)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_of_the_configuration_file_are_given_and_taken_without_a_restart() -> Result<()> {
    let (alone, both) = (
        ["client.example=admin"],
        ["client.example=admin", "robot.example=reader"],
    );
    let directory = TempDir::with_prefix("toka-test-roles-")?;
    let file = directory.path().join("toka.toml");
    say_roles(&file, &alone)?;
    let path = file.display().to_string();
    cluster::run_prepared(
        1,
        &["--auth", "--config", &path],
        async |cluster: &mut Cluster| {
            let certificates = Certificates::set_up(cluster)?;
            cluster.launch_all()?;
            cluster.wait_all_ready().await?;
            let signed = certificates.clients.sign("robot", &["robot.example"])?;
            let directory = cluster.directory().join("tls");
            let robot = Files::new(&directory, "robot", &signed, &certificates.nodes.pem)?;
            let robot = client(cluster, 1, &robot.client()).await?;
            let refused = async || -> Result<()> {
                let denied = robot.list(&List::default(), None).await;
                let is_refused = matches!(denied, Err(Error::PermissionDenied { .. }));
                ensure!(is_refused, "{denied:?}");
                Ok(())
            };
            refused().await?;
            say_roles(&file, &both)?;
            wait::until("the role", PATIENCE, async || {
                robot.list(&List::default(), None).await?;
                Ok(())
            })
            .await?;
            say_roles(&file, &alone)?;
            wait::until("the end of the role", PATIENCE, refused).await
        },
    )
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificate_of_a_client_speaks_for_nobody_else() -> Result<()> {
    cluster::run_prepared(1, &ROLES, async |cluster: &mut Cluster| {
        let certificates = Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        let directory = cluster.directory().join("tls");
        let signed = certificates.clients.sign("robot", &["robot.example"])?;
        let robot = Files::new(&directory, "robot", &signed, &certificates.nodes.pem)?;
        cluster.set_tls(&robot.client(), &[])?;
        let event = request::event("task.new", &serde_json::json!({}));
        let mut forged = request::within(PATIENCE, request::commit(vec![event]));
        metadata::put_forwarded_by(forged.metadata_mut(), 1);
        let name = BinaryMetadataValue::from_bytes(b"client.example");
        let map = forged.metadata_mut();
        map.insert_bin(metadata::ON_BEHALF_OF, name);
        let refused = request::refusal(cluster.node(1).vault().commit(forged).await)?;
        ensure!(refused.code() == Code::PermissionDenied, "{refused:?}");
        Ok(())
    })
    .await
}

/// It asks node 1, which does not lead, and has to have the leader asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn node_joins_through_a_follower_by_its_certificate_alone() -> Result<()> {
    cluster::run_prepared(3, &ROLES, async |cluster: &mut Cluster| {
        Certificates::set_up(cluster)?;
        cluster.launch_all()?;
        cluster.wait_all_ready().await?;
        cluster.led_by_another_than(1).await?;
        let joined = cluster.join(&[]).await?;
        cluster.wait_ready(joined).await?;
        cluster.has_members(&[1, 2, 3, joined], &[]).await?;
        Ok(())
    })
    .await
}
