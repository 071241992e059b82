//! The map in a page of HTML: who hovers over an intent reads about it beside the map.
//!
//! A style sheet alone does that, so that the page can forbid every script, and everything from elsewhere: should a
//! text ever come through as markup, there would be nothing that it could do.

use std::fmt::Write as _;

use super::{Bubble, Map, Placed};
use crate::text::escape;

/// What the page may do: be styled by itself.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Of the page, in which `:has` shows the panel of the intent that is hovered over.
const STYLE: &str = "\
:root{color-scheme:light dark}
body{margin:0;display:flex;flex-wrap:wrap;font:14px/1.5 system-ui,sans-serif;background:#fff;color:#1f2328}
main{flex:3 1 600px;min-width:0}main svg{display:block;width:100%;height:auto;max-height:100vh}
aside{flex:1 1 280px;box-sizing:border-box;padding:24px;border-left:1px solid #d1d9e0;overflow-wrap:anywhere}
h2{font-size:16px;margin:0 0 8px}ul{padding-left:18px}li{margin-bottom:6px}.hint{color:#59636e}
.facts{list-style:none;padding:0;color:#59636e}.facts li{margin:0}
section{display:none}
body:has(.intent:hover,.intent:focus) .hint{display:none}
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}aside{border-color:#30363d}\
.hint,.facts{color:#9198a1}}
";

/// The page around a picture, which is ours: all else is escaped.
pub(super) fn write(map: &Map, placed: &[Placed<'_>], picture: &str) -> String {
    let mut page = String::with_capacity(2 * picture.len());
    page.push_str("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    let policy = "<meta http-equiv=\"Content-Security-Policy\" content=\"";
    page.push_str(policy);
    page.push_str(POLICY);
    page.push_str("\">\n<meta name=\"viewport\" content=\"width=device-width\">\n");
    element(&mut page, "title", &map.title);
    page.push_str("<style>");
    page.push_str(STYLE);
    for placed in placed {
        // Of what is hovered over and what has the focus, the former is shown.
        let intent = placed.bubble.intent;
        let _ = writeln!(
            page,
            "body:has(#i{intent}:hover) #p{intent},\
             body:not(:has(.intent:hover)):has(#i{intent}:focus) #p{intent}{{display:block}}"
        );
    }
    page.push_str("</style>\n</head>\n<body>\n<main>\n");
    page.push_str(picture);
    page.push_str("</main>\n<aside>\n");
    page.push_str(
        "<p class=\"hint\">Hover over a circle, or go from one to the next by Tab.</p>\n",
    );
    for placed in placed {
        panel(&mut page, placed.bubble);
    }
    page.push_str("</aside>\n</body>\n</html>\n");
    page
}

fn panel(page: &mut String, bubble: &Bubble) {
    let _ = writeln!(page, "<section id=\"p{}\">", bubble.intent);
    element(page, "h2", &bubble.heading());
    page.push_str("<ul class=\"facts\">\n");
    bubble.facts().for_each(|fact| element(page, "li", &fact));
    page.push_str("</ul>\n<ul>\n");
    for example in bubble.examples() {
        element(page, "li", &example);
    }
    page.push_str("</ul>\n</section>\n");
}

fn element(page: &mut String, tag: &str, text: &str) {
    let _ = write!(page, "<{tag}>");
    escape(text, page);
    let _ = writeln!(page, "</{tag}>");
}
