//! The bill of materials: CycloneDX 1.6, JSON.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::packages::{Package, Packages};
use crate::console;
use crate::release::Release;

/// The version of the format.
const SPEC_VERSION: &str = "1.6";

/// All packages in the binary, and which depends on which; and those of npm that are in the console's page.
pub(super) fn document(
    packages: &Packages,
    page: &[console::Package],
    release: &Release,
) -> Result<Value> {
    let is_binary = |package: &&Package| package.id == packages.binary;
    let binary = packages.all.iter().find(is_binary);
    let binary = binary.context("the binary is one of the packages")?;
    let mut application = component(binary, "application", packages);
    application["name"] = "toka".into();
    let others = packages.all.iter().filter(|package| !is_binary(package));
    let components: Vec<Value> = others
        .map(|package| component(package, "library", packages))
        .chain(page.iter().map(script))
        .collect();
    Ok(json!({
        "$schema": format!("http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json"),
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "version": 1,
        "metadata": {
            "timestamp": release.created,
            "component": application,
        },
        "components": components,
        "dependencies": dependencies(packages)?,
    }))
}

fn component(package: &Package, kind: &str, packages: &Packages) -> Value {
    let mut component = Map::new();
    let mut set = |name: &str, value: Value| component.insert(name.to_owned(), value);
    set("type", kind.into());
    set("bom-ref", package.url().into());
    set("name", package.name.clone().into());
    set("version", package.version.clone().into());
    set("purl", package.url().into());
    if let Some(description) = &package.description {
        set("description", description.trim().into());
    }
    if let Some(expression) = package.expression() {
        set("licenses", json!([{ "expression": expression }]));
    }
    let key = (package.name.clone(), package.version.clone());
    if let (Some(checksum), Some(_)) = (packages.checksums.get(&key), &package.source) {
        set("hashes", json!([{ "alg": "SHA-256", "content": checksum }]));
    }
    if let Some(repository) = &package.repository {
        set(
            "externalReferences",
            json!([{ "type": "vcs", "url": repository }]),
        );
    }
    Value::Object(component)
}

fn script(package: &console::Package) -> Value {
    let console::Package {
        name,
        version,
        license,
    } = package;
    let url = format!("pkg:npm/{}@{version}", name.replace('@', "%40"));
    json!({
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
        "licenses": [{ "expression": license }],
    })
}

fn dependencies(packages: &Packages) -> Result<Vec<Value>> {
    let all = packages.all.iter();
    let urls: BTreeMap<&str, String> = all.map(|one| (one.id.as_str(), one.url())).collect();
    let url = |id: &String| {
        urls.get(id.as_str())
            .with_context(|| format!("{id} is not there"))
    };
    let each = packages.all.iter().map(|package| {
        let on = packages.dependencies[&package.id].iter().map(url);
        let on: Vec<&String> = on.collect::<Result<_>>()?;
        Ok(json!({ "ref": package.url(), "dependsOn": on }))
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dist::packages::tests::packages;

    #[test]
    fn every_package_is_named_with_its_licence_and_checksum() {
        let release = Release {
            bin: "toka".into(),
            version: "1.0.0".to_owned(),
            epoch: 0,
            created: "1970-01-01T00:00:00Z".to_owned(),
            revision: None,
        };
        let page = [console::Package {
            name: "@a/b".to_owned(),
            version: "3.0.0".to_owned(),
            license: "MIT".to_owned(),
        }];
        let bom = document(&packages(), &page, &release).expect("complete");
        assert_eq!(bom["metadata"]["component"]["name"], "toka");
        let components = bom["components"].as_array().expect("a list");
        assert_eq!(components.len(), 2);
        assert_eq!(components[1]["purl"], "pkg:npm/%40a/b@3.0.0");
        let one = &components[0];
        assert_eq!(one["purl"], "pkg:cargo/one@2.0.0%2Bx");
        assert_eq!(one["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(one["hashes"][0]["content"], "ab".repeat(32));
        assert_eq!(bom["dependencies"][1]["dependsOn"][0], one["bom-ref"]);
    }
}
