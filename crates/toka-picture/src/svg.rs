//! Writes SVG, element by element.

use std::fmt::{self, Display};

use crate::text::escape;

/// Attributes of an element: names that are ours, and values that need not be.
pub(crate) type Attributes<'a> = [(&'a str, &'a dyn Display)];

/// A length in pixels. One digit behind the point is as fine as a screen, and hides the last bits of a calculation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Px(pub(crate) f64);

impl Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1}", self.0)
    }
}

/// A document that is being written.
#[derive(Debug, Default)]
pub(crate) struct Svg {
    out: String,
}

impl Svg {
    /// Begins a document of so many pixels. `title` is what it is called; `style` is CSS, and ours.
    pub(crate) fn new(width: f64, height: f64, title: &str, style: &str) -> Self {
        let mut svg = Self::default();
        let (width, height) = (Px(width.ceil()), Px(height.ceil()));
        let view = format!("0 0 {width} {height}");
        let attributes: &Attributes<'_> = &[
            ("xmlns", &"http://www.w3.org/2000/svg"),
            ("class", &"toka"),
            ("width", &width),
            ("height", &height),
            ("viewBox", &view),
            ("role", &"group"),
            ("aria-label", &title),
        ];
        svg.open("svg", attributes);
        svg.out.push_str("<style>");
        svg.out.push_str(style);
        svg.out.push_str("</style>\n");
        let ground: &Attributes<'_> = &[
            ("class", &"ground"),
            ("width", &"100%"),
            ("height", &"100%"),
        ];
        svg.empty("rect", ground);
        svg
    }

    /// `<tag ...>`, to be closed.
    pub(crate) fn open(&mut self, tag: &str, attributes: &Attributes<'_>) {
        self.begin(tag, attributes);
        self.out.push_str(">\n");
    }

    /// `</tag>`.
    pub(crate) fn close(&mut self, tag: &str) {
        self.out.push_str("</");
        self.out.push_str(tag);
        self.out.push_str(">\n");
    }

    /// `<tag .../>`.
    pub(crate) fn empty(&mut self, tag: &str, attributes: &Attributes<'_>) {
        self.begin(tag, attributes);
        self.out.push_str("/>\n");
    }

    /// `<tag ...>text</tag>`.
    pub(crate) fn text(&mut self, tag: &str, attributes: &Attributes<'_>, text: &str) {
        self.begin(tag, attributes);
        self.out.push('>');
        escape(text, &mut self.out);
        self.close(tag);
    }

    /// Ends the document.
    pub(crate) fn finish(mut self) -> String {
        self.close("svg");
        self.out
    }

    fn begin(&mut self, tag: &str, attributes: &Attributes<'_>) {
        self.out.push('<');
        self.out.push_str(tag);
        for (name, value) in attributes {
            self.out.push(' ');
            self.out.push_str(name);
            self.out.push_str("=\"");
            escape(&value.to_string(), &mut self.out);
            self.out.push('"');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_texts_do_not_end_what_they_stand_in() {
        let mut svg = Svg::new(10.0, 20.25, "\"><script>", ".a{}");
        svg.open("g", &[("id", &7)]);
        svg.text("title", &[], "</title><b>");
        svg.empty("circle", &[("r", &Px(1.26)), ("class", &"\"/>")]);
        svg.close("g");
        let document = svg.finish();
        let parsed = roxmltree::Document::parse(&document).expect("well-formed");
        let root = parsed.root_element();
        assert_eq!(root.attribute("aria-label"), Some("\"><script>"));
        assert_eq!(root.attribute("viewBox"), Some("0 0 10.0 21.0"));
        let names: Vec<_> = root
            .descendants()
            .filter(roxmltree::Node::is_element)
            .map(|node| node.tag_name().name())
            .collect();
        assert_eq!(names, ["svg", "style", "rect", "g", "title", "circle"]);
    }
}
