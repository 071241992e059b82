//! The console of a node: a page for browsers that shows nodes, events, lineage, intents and throughput.
//!
//! ```text
//! web/ --(cargo xtask console)--> dist/ --(include_bytes!)--> router
//! ```
//!
//! `web/` has the sources, `dist/` what was built of them and is in the binary, so that building the binary needs no
//! Node.js. Invariants: what is served here says nothing of any vault, and is served to everybody; the page asks nobody
//! but the node that it came from, and runs no script but its own. This crate knows nothing of the vault: what the page
//! calls is served by `toka-server`.

#![deny(missing_docs)]

use axum::Router;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// Where the page is, with everything that belongs to it below.
pub const PLACE: &str = "/console/";

/// Nothing but what lies beside the page, no inline script or style, nothing that makes markup of text, no frame around
/// it, no form that is sent by the browser itself.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Sent with everything.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// The page itself, which names the others by what is in them.
const INDEX: &str = include_str!("../dist/index.html");

/// Asked for by the page with the hash of what it is, and then kept for ever.
const KEPT: &str = "public, max-age=31536000, immutable";
/// Another build has another one under the same name.
const ASKED_AGAIN: &str = "no-cache";

/// A file of the console.
#[derive(Clone, Copy, Debug)]
struct File {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const FILES: [File; 4] = [
    File {
        name: "console.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../dist/console.js"),
    },
    File {
        name: "console.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../dist/console.css"),
    },
    File {
        name: "icon.svg",
        kind: "image/svg+xml",
        bytes: include_bytes!("../dist/icon.svg"),
    },
    File {
        name: "THIRD-PARTY.txt",
        kind: "text/plain; charset=utf-8",
        bytes: include_bytes!("../dist/THIRD-PARTY.txt"),
    },
];

/// The page at [`PLACE`], its files below it, and the way there from the place without the slash.
pub fn router() -> Router {
    let page = File {
        name: "",
        kind: "text/html; charset=utf-8",
        bytes: INDEX.as_bytes(),
    };
    let pages = Router::new()
        // Relative: a proxy may have put the node below another path.
        .route(
            "/console",
            get(|| async { Redirect::permanent("console/") }),
        )
        .route(PLACE, get(move || async move { page.with(ASKED_AGAIN) }));
    FILES.into_iter().fold(pages, |pages, file| {
        let answer = move |uri: Uri| async move { file.answer(uri.query()) };
        pages.route(&format!("{PLACE}{}", file.name), get(answer))
    })
}

impl File {
    /// What whoever asks with `query` is answered. With the hash of another build it is refused: it would be kept for ever
    /// under a name that is not its own.
    fn answer(self, query: Option<&str>) -> Response {
        let Some(query) = query else {
            return self.with(ASKED_AGAIN);
        };
        match INDEX.contains(&format!("\"{}?{query}\"", self.name)) {
            true => self.with(KEPT),
            false => (StatusCode::NOT_FOUND, HEADERS).into_response(),
        }
    }

    fn with(self, cache: &'static str) -> Response {
        let of_it = [
            (header::CONTENT_TYPE, self.kind),
            (header::CACHE_CONTROL, cache),
        ];
        (HEADERS, of_it, self.bytes).into_response()
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(path: &str) -> Response {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let Ok(response) = router().oneshot(request).await;
        response
    }

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        let value = response.headers().get(name);
        value.map_or("", |value| value.to_str().expect("text"))
    }

    /// What the page names, as it names it.
    fn named() -> Vec<&'static str> {
        let quoted = INDEX.split('"').skip(1).step_by(2);
        let named: Vec<_> = quoted.filter(|text| text.contains("?v=")).collect();
        assert_eq!(named.len(), 3, "{INDEX}");
        named
    }

    #[tokio::test]
    async fn page_is_asked_for_again_and_allows_nothing_from_elsewhere() {
        let page = get("/console/").await;
        assert_eq!(page.status(), StatusCode::OK);
        assert_eq!(header(&page, "cache-control"), "no-cache");
        assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
        let policy = header(&page, "content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[tokio::test]
    async fn what_the_page_names_is_kept_for_ever() {
        for name in named() {
            let file = get(&format!("/console/{name}")).await;
            assert_eq!(file.status(), StatusCode::OK, "{name}");
            assert!(
                header(&file, "cache-control").ends_with("immutable"),
                "{name}"
            );
            assert_eq!(header(&file, "x-content-type-options"), "nosniff");
        }
    }

    #[tokio::test]
    async fn file_of_another_build_is_not_there() {
        for query in ["v=0123456789abcdef", "v=", ""] {
            let file = get(&format!("/console/console.js?{query}")).await;
            assert_eq!(file.status(), StatusCode::NOT_FOUND, "{query}");
        }
        let bare = get("/console/console.js").await;
        assert_eq!(header(&bare, "cache-control"), "no-cache");
    }

    #[tokio::test]
    async fn place_without_a_slash_leads_to_the_page() {
        let response = get("/console").await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(header(&response, "location"), "console/");
    }

    /// What a browser would take from elsewhere.
    #[test]
    fn page_names_no_other_origin() {
        for text in [INDEX, include_str!("../dist/console.css")] {
            assert!(!text.contains("//"), "{text}");
        }
    }
}
