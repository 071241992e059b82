"""What the tests of the chart need of YAML: `manifests.py json` writes it as JSON, `manifests.py validate VERSION...`
checks it against the schemas of these versions of Kubernetes. Both read from standard input."""

import json
import sys

import yaml

# Not a part of Kubernetes: the tests look at these themselves.
DEFINED_ELSEWHERE = ("cert-manager.io/", "gateway.networking.k8s.io/", "monitoring.coreos.com/")


def documents():
    return [document for document in yaml.safe_load_all(sys.stdin) if document]


def validate(versions):
    import kubernetes_validate

    problems = []
    for document in documents():
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["apiVersion"].startswith(DEFINED_ELSEWHERE):
            continue
        for version in versions:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                problems.append(f"{name} ({version}): {error.message} at {list(error.path)}")
    if problems:
        sys.exit("\n".join(problems))


def main():
    if sys.argv[1] == "json":
        json.dump(documents(), sys.stdout)
    else:
        validate(sys.argv[2:])


if __name__ == "__main__":
    main()
